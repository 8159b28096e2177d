"""The training loop: epochs of train steps, losses logged, checkpoints saved, resumed as the same run."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from vae_jax import batches, checkpoint, files, train
from vae_jax.errors import UserError
from vae_jax.representations import Arrays
from vae_jax.runs import RunFolder
from vae_jax.train import Metrics, TrainState

TrainStep = Callable[[TrainState, dict[str, jax.Array], jax.Array], tuple[TrainState, Metrics]]
EvalStep = Callable[[TrainState, dict[str, jax.Array], jax.Array], Metrics]


def fit(
    init_state: Callable[[], TrainState],
    abstract_state: TrainState,
    train_step: TrainStep,
    eval_step: EvalStep,
    *,
    train_arrays: Arrays,
    held_out_arrays: Arrays | None,
    config: Mapping[str, Any],
    seed: int,
    folder: RunFolder,
) -> TrainState:
    """Trains to the last epoch of the config, from the newest checkpoint in the folder where there is one.

    Args:
      init_state: makes the initial state; called where there is no checkpoint.
      abstract_state: its shapes and dtypes, from `jax.eval_shape`.
      train_step: from `train.make_train_step`.
      eval_step: from `train.make_eval_step`.
      train_arrays: compact arrays of all training examples, each [N, ...].
      held_out_arrays: the same of the held-out examples; None where nothing is held out.
      config: the config's `train` section.
      seed: seed of the order of the examples.
      folder: where checkpoints and `metrics.jsonl` go.

    Returns:
      The final state, which is saved as a checkpoint.

    Raises:
      UserError: where a loss or a gradient is not finite; names the step and the last good checkpoint.
    """
    checkpoint.remove_leftovers(folder.checkpoints)
    restored = checkpoint.restore(folder.checkpoints, abstract_state)
    # Placed on the device as what a step returns is: the step would be compiled twice otherwise.
    state = jax.device_put(restored[0] if restored is not None else init_state(), jax.devices()[0])
    count, batch_size = batches.num_examples(train_arrays), config["batch_size"]
    epoch_steps = train.epoch_steps(config, count)
    last_step = epoch_steps * config["num_epochs"]
    step = int(state.step)
    if step:
        print(f"resuming {folder.path} from step {step} of {last_step}")
    examples = jax.device_put(dict(train_arrays))
    held_out = jax.device_put(dict(held_out_arrays)) if held_out_arrays is not None else None
    with _Log(folder, step) as log, _Progress(step, last_step, config["num_epochs"]) as progress:
        while step < last_step:
            history = []
            for _ in range(epoch_steps):
                picked = batches.batch_indices(step, num_examples=count, batch_size=batch_size, seed=seed)
                state, terms = train_step(state, examples, jnp.asarray(picked))
                history.append((len(picked), terms))
                step += 1
                progress.step()
            epoch = step // epoch_steps
            # One transfer an epoch: fetching a loss after every step would make the device wait for the host.
            means = _weighted_means(jax.device_get(history), first_step=step - epoch_steps + 1, folder=folder)
            line = {"step": step, "epoch": epoch, **{f"train_{name}": value for name, value in means.items()}}
            if held_out is not None and (epoch % config["eval_every_epochs"] == 0 or step == last_step):
                line |= _evaluate(state, eval_step, held_out, batch_size)
            log.write(line)
            progress.epoch(line)
            if epoch % config["checkpoint_every_epochs"] == 0 or step == last_step:
                checkpoint.save(folder.checkpoints, step, state, keep=config["keep_checkpoints"])
    return state


class _Progress:
    """A bar on a terminal; elsewhere a line now and then."""

    _NUM_LINES = 20

    def __init__(self, start_step: int, last_step: int, num_epochs: int):
        self._bar = tqdm.tqdm(
            total=last_step, initial=start_step, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True
        )
        self._first_step, self._last_step, self._num_epochs = start_step, last_step, num_epochs
        self._started = time.perf_counter()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def step(self) -> None:
        """Counts a step."""
        self._bar.update()

    def epoch(self, line: dict[str, float]) -> None:
        """Shows the losses of an epoch."""
        text = f"loss {line['train_loss']:.4g}"
        if "held_out_loss" in line:
            text += f", held-out {line['held_out_loss']:.4g}"
        self._bar.set_postfix_str(text)
        step, epoch = line["step"], line["epoch"]
        due = epoch == 1 or step == self._last_step or epoch % max(1, self._num_epochs // self._NUM_LINES) == 0
        if self._bar.disable and due:
            rate = (step - self._first_step) / (time.perf_counter() - self._started)
            left = (self._last_step - step) / rate
            print(f"epoch {epoch}/{self._num_epochs} {text}, {rate:.3g} steps/s, {left:.0f} s left", flush=True)


class _Log:
    """`metrics.jsonl`, one line a logged step, and TensorBoard events beside it.

    Lines after the step that training starts from are dropped: they will be written again, with the same numbers.
    """

    def __init__(self, folder: RunFolder, start_step: int):
        logging.getLogger("tensorboardX").setLevel(logging.ERROR)
        import tensorboardX

        self._file = _reopen_lines(folder, start_step)
        self._events = tensorboardX.SummaryWriter(
            str(folder.tensorboard), purge_step=start_step + 1, write_to_disk=True
        )

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._events.close()

    def write(self, line: dict[str, float]) -> None:
        """Adds a line; every value but the step and epoch is a TensorBoard scalar too."""
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()
        for name, value in line.items():
            if name not in ("step", "epoch"):
                self._events.add_scalar(name, value, line["step"])


def read_log(folder: RunFolder) -> list[dict[str, float]]:
    """Returns the lines of `metrics.jsonl`; a last line that a kill cut short is left out."""
    if not folder.metrics_lines.exists():
        return []
    lines = []
    for text in folder.metrics_lines.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def _reopen_lines(folder: RunFolder, start_step: int):
    kept = [json.dumps(line) + "\n" for line in read_log(folder) if line["step"] <= start_step]
    files.write_bytes(folder.metrics_lines, "".join(kept).encode())
    return folder.metrics_lines.open("a", encoding="utf-8")


def _weighted_means(history: list[tuple[int, Metrics]], first_step: int, folder: RunFolder) -> dict[str, float]:
    """Means over an epoch's examples, as Keras reports them, after checking that every step's values are finite."""
    for n, (_, terms) in enumerate(history):
        for name, value in terms.items():
            if not math.isfinite(value):
                saved = checkpoint.steps(folder.checkpoints)
                good = (
                    f"the last good checkpoint is step {saved[-1]} in {folder.checkpoints}"
                    if saved
                    else "no checkpoint was saved yet"
                )
                raise UserError(
                    f"{name} is {value} at step {first_step + n}; {good}; try a lower config.optimizer.learning_rate"
                )
    sizes = np.array([size for size, _ in history], dtype=np.float64)
    names = history[0][1].keys()
    return {name: float(np.average([float(terms[name]) for _, terms in history], weights=sizes)) for name in names}


def _evaluate(
    state: TrainState, eval_step: EvalStep, held_out: dict[str, jax.Array], batch_size: int
) -> dict[str, float]:
    """Means over the held-out examples."""
    count = len(next(iter(held_out.values())))
    parts = [
        eval_step(state, held_out, jnp.arange(start, min(start + batch_size, count)))
        for start in range(0, count, batch_size)
    ]
    fetched = jax.device_get(parts)
    return {f"held_out_{name}": float(np.mean(np.concatenate([part[name] for part in fetched]))) for name in fetched[0]}
