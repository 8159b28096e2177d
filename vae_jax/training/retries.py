"""What a run does about numbers that are not finite: it stops, or goes back and on with a lower learning rate."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from vae_jax.runtime import files, sharding
from vae_jax.runtime.errors import UserError
from vae_jax.training import checkpointing
from vae_jax.training.run_dir import RunFolder

MAX_RETRIES = 5
_FACTOR = 0.5


class NotFiniteError(Exception):
    """A loss, a gradient or the training state is not finite; the message says which, and at which step."""


def read_retries(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the retries of a run so far, each with `from_step`, the step from which the learning rate is halved.

    Raises:
      UserError: where the file is damaged.
    """
    if not path.exists():
        return []
    entries = files.read_json(path)
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("from_step"), int) for entry in entries
    ):
        raise UserError(f"{path}: damaged (not a list of retries)")
    return entries


def learning_rate_factor(entries: list[dict[str, Any]], step: int) -> float:
    """What the learning rate of the update after `step` is multiplied by: a function of the file and the step alone,
    so that a run which is killed and resumed makes the same updates."""
    return _FACTOR ** sum(entry["from_step"] <= step for entry in entries)


def go_back(error: NotFiniteError, folder: RunFolder, config: Mapping[str, Any]) -> None:
    """Notes a retry from the last good checkpoint, or from the start, in the run's `retries.json`.

    Args:
      error: what is not finite.
      folder: the run's, or that of its second stage.
      config: the config's `train` section.

    Raises:
      UserError: where the config says to stop, or the retries are used up.
    """
    saved = checkpointing.steps(folder.checkpoints)
    entries = read_retries(folder.retries)
    good = "no checkpoint was saved yet"
    if saved:
        good = f"the last good checkpoint is step {saved[-1]} in {folder.checkpoints}"
    advice = "try a lower config.optimizer.learning_rate"
    if config.get("on_nan", "stop") != "restore":
        option = "--config.train.on_nan=restore (of the second stage: --config.composer.train.on_nan=restore)"
        raise UserError(f"{error}; {good}; {advice}, or {option}") from error
    if len(entries) >= MAX_RETRIES:
        raise UserError(f"{error}, after {MAX_RETRIES} retries; {good}; {advice}") from error
    from_step = saved[-1] if saved else 0
    entries = [*entries, {"from_step": from_step, "reason": str(error)}]
    if sharding.is_main_process():
        files.write_json(folder.retries, entries)
    sharding.barrier("retry noted")
    factor = learning_rate_factor(entries, from_step)
    print(
        f"{error}: going back to step {from_step} with the learning rate times {factor:g} "
        f"(retry {len(entries)} of {MAX_RETRIES})",
        flush=True,
    )
