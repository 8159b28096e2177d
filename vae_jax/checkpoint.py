"""Checkpoints of the whole training state: saved whole or not at all, verified before use. The only room that imports
orbax.

A checkpoint is a folder named by its step that holds what orbax wrote and `manifest.json`: the shape and dtype of every
array and the sha256 of every file. orbax itself restores flipped bits without a word, so nothing is restored before its
hashes agree.
"""

from __future__ import annotations

import hashlib
import logging
import pathlib
import shutil
import sys
import warnings
from typing import Any, TypeVar

import jax

from vae_jax import files
from vae_jax.errors import UserError

State = TypeVar("State")

_MANIFEST = "manifest.json"
_STATE = "state"
_TEMPORARY_SUFFIX = ".saving"


def save(folder: pathlib.Path, step: int, state: Any, *, keep: int) -> None:
    """Saves a training state as the checkpoint of a step and deletes the oldest ones beyond `keep`.

    Raises:
      UserError: where it cannot be written; the checkpoints before it are still there.
    """
    target = folder / f"{step:08d}"
    temporary = folder / f"{step:08d}{_TEMPORARY_SUFFIX}"
    try:
        remove_leftovers(folder)
        temporary.mkdir(parents=True)
        _orbax().save((temporary / _STATE).absolute(), state)
        manifest = {"step": step, "arrays": describe(state), "sha256": _hash_files(temporary / _STATE)}
        files.write_json(temporary / _MANIFEST, manifest)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except (OSError, ValueError) as error:
        # orbax reports a full disk as a ValueError of its storage library.
        raise UserError(
            f"{target}: the checkpoint could not be saved ({_one_line(error)}); older ones are intact"
        ) from error
    for old in steps(folder)[:-keep]:
        shutil.rmtree(folder / f"{old:08d}")


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
        return _orbax().load((path / _STATE).absolute(), _on_first_device(abstract)), step
    if found:
        raise UserError(f"{folder}: every checkpoint is damaged; delete the folder to start again")
    return None


def steps(folder: pathlib.Path) -> list[int]:
    """Returns the steps that have a checkpoint, ascending."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit() and path.is_dir())


def remove_leftovers(folder: pathlib.Path) -> None:
    """Deletes what a save that was killed left behind."""
    if folder.is_dir():
        for path in folder.glob(f"*{_TEMPORARY_SUFFIX}"):
            shutil.rmtree(path)


def describe(state: Any) -> dict[str, list]:
    """Returns dtype and shape of every array of a state by its place in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): [str(leaf.dtype), list(leaf.shape)] for path, leaf in leaves}


def _on_first_device(abstract: State) -> State:
    """Says where the arrays go, so that a checkpoint from any device can be restored on this one."""
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), abstract)


def _find_damage(path: pathlib.Path) -> str | None:
    """Returns what is wrong with a checkpoint, or None where every file is as it was written."""
    try:
        manifest = files.read_json(path / _MANIFEST)
        expected, _ = manifest["sha256"], manifest["arrays"]
    except (UserError, KeyError, TypeError):
        return f"no readable {_MANIFEST}"
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


def _first_difference(saved: dict[str, list], expected: dict[str, list]) -> str | None:
    for name in sorted(saved.keys() | expected.keys()):
        if saved.get(name) != expected.get(name):
            there, here = (
                " ".join(map(str, entry)) if entry else "nothing" for entry in (saved.get(name), expected.get(name))
            )
            return f"{name} is {there} there and {here} here"
    return None


def _one_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1][:200] if str(error).strip() else type(error).__name__


def _orbax():
    """Imports orbax where it is used: it takes over a second. Its documentation recommends the v1 interface."""
    logging.getLogger("absl").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import orbax.checkpoint.experimental.v1 as orbax_v1
    return orbax_v1
