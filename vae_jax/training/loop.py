"""The training loop: epochs of train steps, losses logged, checkpoints saved, resumed as the same run."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.data.dataset import Examples
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.base import Arrays
from vae_jax.runtime import sharding, signals
from vae_jax.runtime.signals import Interrupted
from vae_jax.training import checkpointing, retries
from vae_jax.training import step as step_lib
from vae_jax.training.logging import Log, Progress
from vae_jax.training.retries import NotFiniteError
from vae_jax.training.run_dir import RunFolder
from vae_jax.training.step import EvalStep, Metrics, TrainState, TrainStep

# Of every step of an epoch so far: the number of examples and the means over them.
History = list[tuple[int, Metrics]]

_STEPS_AHEAD = 3


def fit(
    init_state: Callable[[], TrainState],
    abstract_state: TrainState,
    make_train_step: Callable[[float], TrainStep],
    eval_step: EvalStep,
    *,
    examples: Examples,
    held_out_arrays: Arrays | None,
    config: Mapping[str, Any],
    seed: int,
    folder: RunFolder,
) -> TrainState:
    """Trains to the last epoch of the config, from the newest checkpoint in the folder where there is one.

    Args:
      init_state: makes the initial state; called where there is no checkpoint.
      abstract_state: its shapes and dtypes, from `jax.eval_shape`.
      make_train_step: gives what `train.make_train_step` does, for a factor on the learning rate.
      eval_step: from `train.make_eval_step`.
      examples: the training examples.
      held_out_arrays: compact arrays of the held-out examples, each [N, ...]; None where nothing is held out.
      config: the config's `train` section.
      seed: seed of the order of the examples.
      folder: where checkpoints and `metrics.jsonl` go.

    Returns:
      The final state, which is saved as a checkpoint, on this process's first device.

    Raises:
      UserError: where a loss, a gradient or the state is not finite; names the step and the last good checkpoint. With
        config.train.on_nan=restore training goes back to that first, with a lower learning rate.
      Interrupted: where a signal asked to stop; the state is saved.
    """
    if sharding.is_main_process():
        checkpointing.remove_leftovers(folder.checkpoints)
    if not sharding.divides(config["batch_size"]):
        print(
            f"batches of {config['batch_size']} cannot be shared out over {jax.device_count()} devices: each computes "
            "the whole; a multiple is faster"
        )
    job = _Job(
        init_state=init_state,
        abstract_state=abstract_state,
        train_step=_StepOfFactor(make_train_step),
        eval_step=eval_step,
        examples=examples,
        resident=examples.resident(),
        held_out=sharding.replicate(dict(held_out_arrays)) if held_out_arrays is not None else None,
        config=config,
        seed=seed,
        folder=folder,
    )
    while True:
        try:
            return sharding.local(_train(job))
        except NotFiniteError as error:
            retries.go_back(error, folder, config)


class _StepOfFactor:
    """Train steps by the factor on the learning rate; each is compiled once."""

    def __init__(self, make: Callable[[float], TrainStep]):
        self._make = make
        self._made: dict[float, TrainStep] = {}

    def __call__(self, factor: float) -> TrainStep:
        if factor not in self._made:
            self._made[factor] = self._make(factor)
        return self._made[factor]


@dataclasses.dataclass(frozen=True, eq=False)
class _Job:
    """The arguments of `fit`, with what stays on the devices."""

    init_state: Callable[[], TrainState]
    abstract_state: TrainState
    train_step: Callable[[float], TrainStep]
    eval_step: EvalStep
    examples: Examples
    resident: dict[str, jax.Array]
    held_out: dict[str, jax.Array] | None
    config: Mapping[str, Any]
    seed: int
    folder: RunFolder

    @property
    def epoch_steps(self) -> int:
        """Number of updates in an epoch."""
        return step_lib.epoch_steps(self.config, len(self.examples))


def _train(job: _Job) -> TrainState:
    """Trains from what is in the folder to the last epoch."""
    config, last_step = job.config, job.epoch_steps * job.config["num_epochs"]
    lowered = retries.read_retries(job.folder.retries)
    state, history = _restore(job)
    step = int(state.step)
    if step:
        print(f"resuming {job.folder.path} from step {step} of {last_step}")
    feed = job.examples.feed(range(step, last_step), batch_size=config["batch_size"], seed=job.seed)
    stops = _Stops()
    with (
        Log(job.folder, step) if sharding.is_main_process() else contextlib.nullcontext() as log,
        Progress(step, last_step, config["num_epochs"]) as progress,
        signals.deferred() as signal_number,
        contextlib.closing(feed),
    ):
        for batch in feed:
            factor = retries.learning_rate_factor(lowered, step)
            state, terms = job.train_step(factor)(state, job.resident, batch)
            history.append((int(batch.size), terms))
            step += 1
            progress.step()
            # The device may be some steps behind, so that it never waits for the host; whoever sends a signal waits
            # for all of them, so that they are few.
            if len(history) > _STEPS_AHEAD:
                jax.block_until_ready(history[-1 - _STEPS_AHEAD])
            epoch, of_epoch = divmod(step, job.epoch_steps)
            if of_epoch == 0:
                line = _end_epoch(job, state, step, history)
                history = []
                if lowered:
                    line["learning_rate_factor"] = factor
                if log is not None:
                    log.write(line)
                progress.epoch(line)
            stop = stops.agree(signal_number())
            at_end = of_epoch == 0 and (epoch % config["checkpoint_every_epochs"] == 0 or step == last_step)
            if at_end or stop:
                _save(job, state, step, history)
            if stop:
                raise Interrupted(stop, f"step {step} of {last_step} is saved; the same command resumes")
    return state


def _restore(job: _Job) -> tuple[TrainState, History]:
    """Returns the newest whole checkpoint and what its epoch has logged so far, or the initial state."""
    restored = checkpointing.restore(job.folder.checkpoints, job.abstract_state)
    history: History = []
    if restored is not None:
        saved = checkpointing.read_extra(job.folder.checkpoints, restored[1])
        history = [(size, terms) for size, terms in saved.get("history", [])]
    state = restored[0] if restored is not None else sharding.replicate(sharding.broadcast(job.init_state()))
    return state, history


class _Stops:
    """Lets all processes stop after the same step: each step's signals are looked at when all have had the time to
    tell, some steps later."""

    def __init__(self) -> None:
        self._told: collections.deque[Any] = collections.deque()
        self._delay = _STEPS_AHEAD if jax.process_count() > 1 else 0

    def agree(self, signal_number: int) -> int:
        """Takes this process's signal after a step, and returns the one to stop for, 0 for none."""
        self._told.append(sharding.all_reduce_max(signal_number))
        return int(self._told.popleft()) if len(self._told) > self._delay else 0


def _end_epoch(job: _Job, state: TrainState, step: int, history: History) -> dict[str, float]:
    """Returns the line of an epoch: its number, training losses and, when due, held-out losses."""
    epoch = step // job.epoch_steps
    means = _weighted_means(_fetch(history, step))
    line = {"step": step, "epoch": epoch, **{f"train_{name}": value for name, value in means.items()}}
    last = epoch == job.config["num_epochs"]
    if job.held_out is not None and (last or epoch % job.config["eval_every_epochs"] == 0):
        line |= _evaluate(state, job.eval_step, job.held_out, job.config["batch_size"])
    for name, value in line.items():
        _check_finite(name, value, step)
    return line


def _save(job: _Job, state: TrainState, step: int, history: History) -> None:
    """Saves a state that is finite, with what the running epoch has logged so far."""
    fetched = [[size, {name: float(value) for name, value in terms.items()}] for size, terms in _fetch(history, step)]
    if not _all_finite((state.params, state.opt_state, state.average)):
        raise NotFiniteError(f"the training state is not finite after step {step}")
    extra = {"history": fetched} if fetched else {}
    checkpointing.save(job.folder.checkpoints, step, state, keep=job.config["keep_checkpoints"], extra=extra)


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def _fetch(history: History, last_step: int) -> History:
    """Brings an epoch's values to the host at once, and checks that every step's are finite."""
    fetched = jax.device_get(history)
    for n, (_, terms) in enumerate(fetched):
        for name, value in terms.items():
            _check_finite(name, value, last_step - len(fetched) + 1 + n)
    return fetched


def _check_finite(name: str, value: float, step: int) -> None:
    if not math.isfinite(value):
        raise NotFiniteError(f"{name} is {value} at step {step}")


def _weighted_means(history: History) -> dict[str, float]:
    """Means over an epoch's examples, as Keras reports them."""
    sizes = np.array([size for size, _ in history], dtype=np.float64)
    names = history[0][1].keys()
    return {name: float(np.average([float(terms[name]) for _, terms in history], weights=sizes)) for name in names}


def _evaluate(
    state: TrainState, eval_step: EvalStep, held_out: dict[str, jax.Array], batch_size: int
) -> dict[str, float]:
    """Means over the held-out examples."""
    count = len(next(iter(held_out.values())))
    length = min(batch_size, count)
    parts = [
        eval_step(state, held_out, sharding.shard_batch(rows[sharding.process_rows(length)], length))
        for rows in arrays_lib.rows_in_order(count, length)
    ]
    fetched = jax.device_get(parts)
    return {
        f"held_out_{name}": float(np.mean(np.concatenate([part[name] for part in fetched])[:count]))
        for name in fetched[0]
    }
