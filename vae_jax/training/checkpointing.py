"""Checkpoints of the training state: saved whole or not at all, verified before use. Only this module imports orbax.

A checkpoint is a folder named by its step: `state`, written by orbax, and `manifest.json` with the dtype and shape of
every array, the sha256 of every file and its own, because orbax restores flipped bits without an error. Its
`Checkpointer`, which names and deletes checkpoints, is of no use here: it raises for all of them where the metadata of
one is damaged, and deletes the older ones before the new one is hashed and on the disk.
"""

import contextlib
import logging
import math
import os
import pathlib
import shutil
import sys
import types
import warnings
from collections.abc import Iterator
from typing import TypeVar

import jax

from vae_jax.runtime import files, sharding
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import Json

State = TypeVar("State")

_MANIFEST, _STATE, _OWN_HASH = "manifest.json", "state", "manifest_sha256"
HELD_OUT_LOSS = "held_out_loss"  # In what is saved with a checkpoint.
_UNFINISHED = ".unfinished"  # Suffix of a folder that is being written or deleted.


def save(folder: pathlib.Path, step: int, state: object, *, keep: int, extra: Json | None = None) -> None:
    """Saves a tree of arrays as the checkpoint of a step, with JSON that `read_extra` returns.

    All processes call this, with a folder that they share. Checkpoints beyond the newest `keep` are deleted, and those
    of later steps: they are damaged, and training went back behind them.

    Raises:
      UserError: where it cannot be written, a full disk for instance; the checkpoints before it are still there.
    """
    target = folder / f"{step:08d}"
    unfinished = target.with_suffix(_UNFINISHED)
    try:
        if sharding.is_main_process():
            remove_leftovers(folder)
            unfinished.mkdir(parents=True)  # Where this fails, orbax would wait for minutes.
        with _orbax() as orbax:
            orbax.save((unfinished / _STATE).absolute(), state)  # Begins and ends with a barrier.
        if sharding.is_main_process():
            manifest = {"step": step, "arrays": _describe(state), "extra": extra or {}}
            manifest["sha256"] = _hash_files(unfinished / _STATE)
            files.write_json(unfinished / _MANIFEST, manifest | {_OWN_HASH: files.hash_json(manifest)})
            _delete(target)
            unfinished.rename(target)
            _flush(target)
            found = steps(folder)
            for other in set(found) - set([one for one in found if one <= step][-keep:]):
                _delete(folder / f"{other:08d}")
    except (OSError, ValueError, UserError) as error:
        if isinstance(error, ValueError) and "os_error_code=" not in str(error):
            raise  # orbax reports a full disk as a ValueError.
        shutil.rmtree(unfinished, ignore_errors=True)
        reason = "no space left on the disk" if "No space left" in str(error) else str(error)
        raise UserError(f"{target}: the checkpoint could not be saved ({reason}); older ones are intact") from error
    sharding.barrier("checkpoint saved")


def restore(folder: pathlib.Path, abstract: State, *, best: bool = False) -> tuple[State, int] | None:
    """Returns the newest whole checkpoint, on all devices, and its step; None where there is no checkpoint.

    Args:
      folder: where checkpoints were saved; a warning names each damaged one that is passed over.
      abstract: a tree of `jax.ShapeDtypeStruct` (from `jax.eval_shape`), the state that is expected.
      best: whether it is the one saved with the lowest `HELD_OUT_LOSS` instead; without any it is the newest.

    Raises:
      UserError: where every checkpoint is damaged, or a whole one holds another model's state.
    """
    found = steps(folder)
    for path in _by_loss(folder, found) if best else [folder / f"{step:08d}" for step in reversed(found)]:
        try:
            manifest = _verified_manifest(path)
        except UserError as damage:
            print(f"warning: checkpoint {path} is damaged ({damage}); using an older one", file=sys.stderr)
            continue
        saved, expected = manifest["arrays"], _describe(abstract)
        for name in sorted(saved.keys() | expected.keys()):
            there, here = saved.get(name, "nothing"), expected.get(name, "nothing")
            if there != here:
                difference = f"{name} is {there} there and {here} here"
                raise UserError(f"{path}: a checkpoint of another model, optimiser or version ({difference})")
        replicated = sharding.replicated()  # On the devices of now, which may be others than it was saved from.
        placed = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated), abstract)  # noqa: B023
        with _orbax() as orbax:
            return orbax.load((path / _STATE).absolute(), placed), manifest["step"]
    if found:
        raise UserError(f"{folder}: every checkpoint is damaged; delete the folder to start again")
    return None


def _by_loss(folder: pathlib.Path, found: list[int]) -> list[pathlib.Path]:
    """The checkpoints of steps, that with the lowest held-out loss first, those without one last, the newest of equals
    first."""

    def loss(step: int) -> float:
        try:
            return float(read_extra(folder, step).get(HELD_OUT_LOSS, math.inf))
        except (UserError, KeyError, AttributeError):
            return -math.inf  # Damaged: `restore` says so and passes it over.

    return [folder / f"{step:08d}" for step in sorted(reversed(found), key=loss)]


def steps(folder: pathlib.Path) -> list[int]:
    """Returns the steps that have a checkpoint, ascending."""
    return sorted(int(path.name) for path in folder.glob("*/") if path.name.isdecimal())


def read_extra(folder: pathlib.Path, step: int) -> Json:
    """Returns the JSON that was saved with a checkpoint that has been restored."""
    return files.read_json(folder / f"{step:08d}" / _MANIFEST)["extra"]


def remove_leftovers(folder: pathlib.Path) -> None:
    """Deletes what a killed save or deletion has left."""
    for path in folder.glob(f"*{_UNFINISHED}"):
        shutil.rmtree(path, ignore_errors=True)


def _delete(path: pathlib.Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path.rename(path.with_suffix(f".old{_UNFINISHED}")))  # Renamed first: a kill leaves no half one.


def _flush(folder: pathlib.Path) -> None:
    """Waits until a folder is on the disk with all that it holds."""
    for path in (*folder.rglob("*"), folder, folder.parent):
        with contextlib.suppress(PermissionError):  # Windows opens no folder.
            handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _verified_manifest(path: pathlib.Path) -> Json:
    """Returns a checkpoint's manifest; raises UserError naming the first file that is not as it was written."""
    try:
        manifest = files.read_json(path / _MANIFEST)
        own_hash, expected = manifest.pop(_OWN_HASH), manifest["sha256"]
    except (UserError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"no readable {_MANIFEST}") from error
    if own_hash != files.hash_json(manifest):
        raise UserError(f"{_MANIFEST} has changed")
    actual = _hash_files(path / _STATE)
    for name in expected:
        if actual.get(name) != expected[name]:
            raise UserError(f"{name} {'has changed' if name in actual else 'is missing'}")
    return manifest


def _describe(state: object) -> dict[str, str]:
    """Returns dtype and shape of every array by its place in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): f"{leaf.dtype} {list(leaf.shape)}" for path, leaf in leaves}


def _hash_files(folder: pathlib.Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): files.hash_file(path) for path in paths}


@contextlib.contextmanager
def _orbax() -> Iterator[types.ModuleType]:
    """Imports orbax, which takes over a second, only where it is used; what it logs beside its errors is dropped."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import orbax.checkpoint.experimental.v1 as orbax
        yield orbax
    finally:
        logger.setLevel(level)
