"""Checkpoints of the whole training state: saved whole or not at all, verified before use. The only room that imports
orbax.

A checkpoint is a folder named by its step that holds what orbax wrote and `manifest.json`: the shape and dtype of every
array, the sha256 of every file and its own. orbax itself restores flipped bits without a word, so nothing is restored
before its hashes agree.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import jax

from vae_jax.runtime import files
from vae_jax.runtime import sharding as sharding_lib
from vae_jax.runtime.errors import UserError

State = TypeVar("State")

_MANIFEST = "manifest.json"
_STATE = "state"
_OWN_HASH = "manifest_sha256"
_TEMPORARY_SUFFIX = ".saving"
_REMOVED_SUFFIX = ".removed"


def save(folder: pathlib.Path, step: int, state: Any, *, keep: int, extra: Mapping[str, Any] | None = None) -> None:
    """Saves a training state as the checkpoint of a step and deletes the oldest ones beyond `keep`.

    Checkpoints of later steps are deleted too: training went back behind them, because they were damaged. Of several
    processes all write, into a folder that they share.

    Args:
      folder: folder of checkpoints.
      step: number of updates made.
      state: a tree of arrays.
      keep: how many checkpoints stay, this one counted.
      extra: what else belongs to the state, as JSON; `read_extra` gives it back.

    Raises:
      UserError: where it cannot be written; the checkpoints before it are still there.
    """
    target = folder / f"{step:08d}"
    temporary = folder / f"{step:08d}{_TEMPORARY_SUFFIX}"
    try:
        if sharding_lib.is_main_process():
            remove_leftovers(folder)
            temporary.mkdir(parents=True)
        sharding_lib.barrier("checkpoint begun")
        orbax = _orbax()
        with _quiet():
            orbax.save((temporary / _STATE).absolute(), state)
        sharding_lib.barrier("checkpoint written")
        if sharding_lib.is_main_process():
            manifest = {"step": step, "arrays": describe(state), "extra": dict(extra or {})}
            manifest["sha256"] = _hash_files(temporary / _STATE)
            files.write_json(temporary / _MANIFEST, manifest | {_OWN_HASH: _hash_manifest(manifest)})
            _flush(temporary)
            if target.exists():
                _remove(target)
            temporary.rename(target)
            _flush_folder(folder)
    except (OSError, ValueError, UserError) as error:
        # orbax reports a full disk as a ValueError of its storage library.
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(
            f"{target}: the checkpoint could not be saved ({_one_line(error)}); older ones are intact"
        ) from error
    if sharding_lib.is_main_process():
        _remove_others(folder, step, keep)
    sharding_lib.barrier("checkpoint in place")


def _remove_others(folder: pathlib.Path, step: int, keep: int) -> None:
    there = steps(folder)
    for old in [one for one in there if one > step] + [one for one in there if one <= step][:-keep]:
        _remove(folder / f"{old:08d}")


def restore(folder: pathlib.Path, abstract: State) -> tuple[State, int] | None:
    """Restores the newest checkpoint that is whole, with a warning for each damaged one that it passes over.

    Args:
      folder: the run's `checkpoints` folder.
      abstract: a tree of `jax.ShapeDtypeStruct` (from `jax.eval_shape`), the state that is expected.

    Returns:
      The state and its step, or None where there is no checkpoint at all.

    Raises:
      UserError: where every checkpoint is damaged, or a whole one holds another model's state.
    """
    found = steps(folder)
    for step in reversed(found):
        path = folder / f"{step:08d}"
        damage = _find_damage(path)
        if damage:
            print(f"warning: checkpoint {path} is damaged ({damage}); using an older one", file=sys.stderr)
            continue
        difference = _first_difference(files.read_json(path / _MANIFEST)["arrays"], describe(abstract))
        if difference:
            raise UserError(f"{path}: a checkpoint of another model or optimiser ({difference})")
        return _orbax().load((path / _STATE).absolute(), _on_all_devices(abstract)), step
    if found:
        raise UserError(f"{folder}: every checkpoint is damaged; delete the folder to start again")
    return None


def steps(folder: pathlib.Path) -> list[int]:
    """Returns the steps that have a checkpoint, ascending."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit() and path.is_dir())


def read_extra(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """Returns what was saved with a checkpoint that has been restored."""
    return files.read_json(folder / f"{step:08d}" / _MANIFEST).get("extra", {})


def remove_leftovers(folder: pathlib.Path) -> None:
    """Deletes what a save or a deletion that was killed left behind."""
    if folder.is_dir():
        for suffix in (_TEMPORARY_SUFFIX, _REMOVED_SUFFIX):
            for path in folder.glob(f"*{suffix}"):
                shutil.rmtree(path, ignore_errors=True)


def describe(state: Any) -> dict[str, list]:
    """Returns dtype and shape of every array of a state by its place in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): [str(leaf.dtype), list(leaf.shape)] for path, leaf in leaves}


def _on_all_devices(abstract: State) -> State:
    """Says where the arrays go, so that a checkpoint from other devices, and as many, can be restored on these."""
    sharding = sharding_lib.replicated()
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), abstract)


def _remove(path: pathlib.Path) -> None:
    """Deletes a checkpoint; one that is killed on the way leaves no half checkpoint."""
    with contextlib.suppress(OSError):
        shutil.rmtree(path.rename(path.with_name(path.name + _REMOVED_SUFFIX)))


def _flush(folder: pathlib.Path) -> None:
    """Waits until everything in a folder is on the disk: the older checkpoints are deleted on the strength of it."""
    for path in folder.rglob("*"):
        if path.is_dir():
            _flush_folder(path)
        else:
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    _flush_folder(folder)


def _flush_folder(path: pathlib.Path) -> None:
    with contextlib.suppress(OSError):  # Windows opens no folder.
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _find_damage(path: pathlib.Path) -> str | None:
    """Returns what is wrong with a checkpoint, or None where every file is as it was written."""
    try:
        manifest = files.read_json(path / _MANIFEST)
        own = manifest.pop(_OWN_HASH, None)
        expected, _ = manifest["sha256"], manifest["arrays"]
    except (UserError, KeyError, TypeError, AttributeError):
        return f"no readable {_MANIFEST}"
    # Checkpoints from before the manifest had a hash of its own carry none.
    if own is not None and own != _hash_manifest(manifest):
        return f"{_MANIFEST} has changed"
    actual = _hash_files(path / _STATE)
    missing = sorted(expected.keys() - actual.keys())
    if missing:
        return f"{missing[0]} is missing"
    changed = sorted(name for name in expected if expected[name] != actual[name])
    return f"{changed[0]} has changed" if changed else None


def _hash_files(folder: pathlib.Path) -> dict[str, str]:
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                hashes[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def _hash_manifest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _first_difference(saved: dict[str, list], expected: dict[str, list]) -> str | None:
    for name in sorted(saved.keys() | expected.keys()):
        if saved.get(name) != expected.get(name):
            there, here = (
                " ".join(map(str, entry)) if entry else "nothing" for entry in (saved.get(name), expected.get(name))
            )
            return f"{name} is {there} there and {here} here"
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the tracebacks off the terminal that orbax logs beside the error that it raises."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _one_line(error: Exception) -> str:
    if "No space left" in str(error) or "RESOURCE_EXHAUSTED" in str(error):
        return "no space left on the disk"
    return str(error).strip().splitlines()[-1][:200] if str(error).strip() else type(error).__name__


def _orbax():
    """Imports orbax where it is used: it takes over a second. Its documentation recommends the v1 interface."""
    logging.getLogger("absl").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import orbax.checkpoint.experimental.v1 as orbax_v1
    return orbax_v1
