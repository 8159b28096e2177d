"""The training loop: epochs of train steps, losses logged, checkpoints saved; a resumed run is the same run."""

import collections
import contextlib
import dataclasses
import math
import sys
from collections.abc import Callable, Mapping
from typing import Generic

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.data.dataset import Dataset
from vae_jax.models.base import Variables
from vae_jax.representations import arrays
from vae_jax.representations.base import B
from vae_jax.runtime import sharding, signals
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import Json
from vae_jax.training import checkpointing, step
from vae_jax.training.config import TrainConfig
from vae_jax.training.logging import Log, Progress
from vae_jax.training.run_dir import RunFolder
from vae_jax.training.step import EvalStep, TrainState, TrainStep
from vae_jax.training.trainable import Metrics, Trainable

# Of every step of an epoch so far: the number of examples and the means over them.
History = list[tuple[int, Metrics]]

_STEPS_AHEAD = 3


def fit(
    trainable: Trainable[B],
    dataset: Dataset[B],
    config: TrainConfig,
    folder: RunFolder,
    *,
    key: jax.Array,
    order_seed: int,
    start: Callable[[], Variables] | None = None,
) -> TrainState:
    """Trains to the last epoch of the config, from the newest checkpoint in the folder where there is one.

    Args:
      trainable: the model with its loss and optimiser.
      dataset: the examples.
      config: the length of the run and what happens when.
      folder: where checkpoints and `metrics.jsonl` go.
      key: of the initial variables, training and evaluation; consumed.
      order_seed: seed of the order of the examples.
      start: gives the initial variables, in place of the trainable's own.

    Returns:
      The final state, which is saved as a checkpoint, on this process's first device.

    Raises:
      UserError: where a loss, a gradient or the state is not finite; names the step and the last good checkpoint.
      Interrupted: where a signal asked to stop; the state is saved.
    """
    if sharding.is_main_process():
        checkpointing.remove_leftovers(folder.checkpoints)
    if not sharding.divides(config.batch_size):
        devices = f"{jax.device_count()} devices"
        print(f"batches of {config.batch_size} cannot be sharded over {devices}: each computes the whole batch")
    init_key, train_key, eval_key = jax.random.split(key, 3)
    optimizer = trainable.optimizer(config.num_steps(len(dataset.train)))

    state, history = _restore(folder, step.abstract_state(trainable, config.average_decay, init_key))
    if state is None:
        variables = trainable.init(init_key, dataset) if start is None else start()
        initial = step.init_state(variables, optimizer, config.average_decay)
        state = sharding.replicate(sharding.broadcast(initial))
    run = _Run(
        train_step=step.make_train_step(trainable, optimizer, train_key, config.average_decay),
        eval_step=step.make_eval_step(trainable, eval_key),
        dataset=dataset,
        held_out=None if dataset.held_out is None else sharding.replicate(dataset.held_out),
        config=config,
        order_seed=order_seed,
        folder=folder,
    )
    state = _train(run, state, history)
    if config.keep_best and (best := checkpointing.restore(folder.checkpoints, state, best=True)) is not None:
        state = best[0]
        print(f"{folder.path}: the held-out loss is lowest after {best[1]} of {run.last_step} updates")
    return sharding.local(state)


@dataclasses.dataclass(frozen=True, eq=False)
class _Run(Generic[B]):
    """What stays the same through a run."""

    train_step: TrainStep
    eval_step: EvalStep
    dataset: Dataset[B]
    held_out: B | None
    config: TrainConfig
    order_seed: int
    folder: RunFolder

    @property
    def epoch_steps(self) -> int:
        """Number of updates in an epoch."""
        return self.config.epoch_steps(len(self.dataset.train))

    @property
    def last_step(self) -> int:
        """Number of updates in the run."""
        return self.epoch_steps * self.config.num_epochs


def _restore(folder: RunFolder, abstract: TrainState) -> tuple[TrainState | None, History]:
    """Returns the newest whole checkpoint, None where there is none, and what its epoch has logged so far."""
    restored = checkpointing.restore(folder.checkpoints, abstract)
    if restored is None:
        return None, []
    saved = checkpointing.read_extra(folder.checkpoints, restored[1])
    return restored[0], [(size, terms) for size, terms in saved.get("history", [])]


def _train(run: _Run[B], state: TrainState, history: History) -> TrainState:
    """Trains from a state to the last epoch."""
    config, num_updates = run.config, int(state.step)
    if num_updates:
        print(f"resuming {run.folder.path} from step {num_updates} of {run.last_step}")
    elif config.keep_best and run.held_out is not None:
        _save(run, state, 0, [], _evaluate(state, run.eval_step, run.held_out, config.batch_size))
    resident = run.dataset.train.resident()
    steps = range(num_updates, run.last_step)
    batches = run.dataset.train.batches(steps, batch_size=config.batch_size, seed=run.order_seed)
    stops = _Stops()
    with (
        Log(run.folder, num_updates) if sharding.is_main_process() else contextlib.nullcontext() as log,
        Progress(num_updates, run.last_step, config.num_epochs) as progress,
        signals.deferred() as signal_number,
        contextlib.closing(batches),
    ):
        for batch in batches:
            state, metrics = run.train_step(state, resident, batch)
            history.append((int(batch.size), metrics))
            num_updates += 1
            progress.step()
            # The device may be some steps behind, so that it never waits for the host, but not so many that a signal
            # would wait for long.
            if len(history) > _STEPS_AHEAD:
                jax.block_until_ready(history[-1 - _STEPS_AHEAD])
            line: dict[str, float] = {}
            epoch, of_epoch = divmod(num_updates, run.epoch_steps)
            if of_epoch == 0:
                line = _end_epoch(run, state, epoch, history)
                history = []
                if log is not None:
                    log.write(line)
                progress.epoch(line)
            stop = stops.agree(signal_number())
            due = epoch % config.checkpoint_every_epochs == 0 or num_updates == run.last_step
            if stop or (of_epoch == 0 and due):
                _save(run, state, num_updates, history, line)
            if stop:
                message = f"step {num_updates} of {run.last_step} is saved; the same command resumes"
                raise signals.Interrupted(stop, message)
    return state


class _Stops:
    """Lets all processes stop after the same step: each step's signals are read when all processes have had the time
    to send theirs, some steps later."""

    def __init__(self) -> None:
        self._sent: collections.deque[int | jax.Array] = collections.deque()
        self._delay = _STEPS_AHEAD if jax.process_count() > 1 else 0

    def agree(self, signal_number: int) -> int:
        """Takes this process's signal after a step, and returns the one to stop for, 0 for none."""
        self._sent.append(sharding.all_reduce_max(signal_number))
        return int(self._sent.popleft()) if len(self._sent) > self._delay else 0


def _end_epoch(run: _Run[B], state: TrainState, epoch: int, history: History) -> dict[str, float]:
    """Returns the line of an epoch: its number, training losses and, when due, held-out losses."""
    num_updates = epoch * run.epoch_steps
    means = _weighted_means(_fetch(run, history, num_updates))
    line = {"step": num_updates, "epoch": epoch, **{f"train_{name}": value for name, value in means.items()}}
    due = epoch == run.config.num_epochs or epoch % run.config.eval_every_epochs == 0
    if run.held_out is not None and due:
        line |= _evaluate(state, run.eval_step, run.held_out, run.config.batch_size)
    for name, value in line.items():
        _check_finite(run, name, value, num_updates)
    return line


def _save(run: _Run[B], state: TrainState, num_updates: int, history: History, line: Mapping[str, float]) -> None:
    """Saves a state that is finite, with what the running epoch has logged so far and the held-out loss of its line."""
    fetched = [
        [size, {name: float(value) for name, value in metrics.items()}]
        for size, metrics in _fetch(run, history, num_updates)
    ]
    if not _all_finite((state.params, state.opt_state, state.average)):
        raise _not_finite(run, f"the training state is not finite after step {num_updates}")
    extra: Json = {"history": fetched} if fetched else {}
    extra |= {name: value for name, value in line.items() if name == checkpointing.HELD_OUT_LOSS}
    keep = sys.maxsize if run.config.keep_best else run.config.keep_checkpoints
    checkpointing.save(run.folder.checkpoints, num_updates, state, keep=keep, extra=extra)


@jax.jit
def _all_finite(tree: chex.ArrayTree) -> jax.Array:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def _fetch(run: _Run[B], history: History, last_step: int) -> History:
    """Brings an epoch's values to the host at once, and checks that every step's are finite."""
    fetched = jax.device_get(history)
    for n, (_, metrics) in enumerate(fetched):
        for name, value in metrics.items():
            _check_finite(run, name, value, last_step - len(fetched) + 1 + n)
    return fetched


def _check_finite(run: _Run[B], name: str, value: float, num_updates: int) -> None:
    if not math.isfinite(value):
        raise _not_finite(run, f"{name} is {value} at step {num_updates}")


def _not_finite(run: _Run[B], reason: str) -> UserError:
    saved = checkpointing.steps(run.folder.checkpoints)
    good = f"the last good checkpoint is step {saved[-1]} in {run.folder.checkpoints}" if saved else "nothing is saved"
    return UserError(f"{reason}; {good}; try a lower learning_rate")


def _weighted_means(history: History) -> dict[str, float]:
    """Means over an epoch's examples, as Keras reports them."""
    sizes = np.array([size for size, _ in history], dtype=np.float64)
    names = history[0][1].keys()
    return {name: float(np.average([float(terms[name]) for _, terms in history], weights=sizes)) for name in names}


def _evaluate(state: TrainState, eval_step: EvalStep, held_out: chex.ArrayTree, batch_size: int) -> dict[str, float]:
    """Means over the held-out examples."""
    count = arrays.num_examples(held_out)
    length = min(batch_size, count)
    fetched = jax.device_get(
        [
            eval_step(state, held_out, sharding.shard_batch(rows[sharding.process_rows(length)], length))
            for rows in arrays.rows_in_order(count, length)
        ]
    )
    return {
        f"held_out_{name}": float(np.mean(np.concatenate([terms[name] for terms in fetched])[:count]))
        for name in fetched[0]
    }
