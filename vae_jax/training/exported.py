"""A trained run in a small folder to keep or share: its config, description and parameters in half precision.

The folder has the layout of a run's, with `parameters.npz` in place of checkpoints; `manifest.json` holds the sha256 of
every file, and nothing is loaded from a folder in which one differs.
"""

import hashlib
import json
import pathlib
from collections.abc import Iterator, Mapping

import chex
import jax
import jax.numpy as jnp
import numpy as np

import vae_jax
from vae_jax.models.base import Variables
from vae_jax.runtime import files, npz
from vae_jax.runtime.config import Fields
from vae_jax.runtime.errors import UserError
from vae_jax.training.run_dir import RunFolder

PRETRAINED = "pretrained"  # In place of a folder: the run that this package ships.
NOTHING = "none"
_MAX_BYTES = 2**30


def find(path: str) -> str:
    """Returns a run's folder, for `PRETRAINED` that of the shipped run unless there is a folder of this name."""
    if path == PRETRAINED and not pathlib.Path(path).exists():
        return str(pathlib.Path(vae_jax.__file__).parent / PRETRAINED)
    return path


def write(
    target: RunFolder, parts: Mapping[str, Variables], contents: Mapping[pathlib.Path, Fields], card: str
) -> None:
    """Exports a run.

    Args:
      target: a new or empty folder.
      parts: variables by stage, "model" and "composer".
      contents: what the other files of the run hold, by their paths in the new folder.
      card: what a reader should know of it, as Markdown.

    Raises:
      UserError: where the folder is not empty or cannot be written.
    """
    if target.path.exists() and any(target.path.iterdir()):
        raise UserError(f"{target.path}: not empty; give a new folder")
    arrays = {
        f"{part}{name}": _halve(np.asarray(array)) for part, tree in parts.items() for name, array in _flatten(tree)
    }
    npz.write_npz(target.parameters, **arrays)
    for path, content in contents.items():
        files.write_bytes(path, json.dumps(content, separators=(",", ":"), allow_nan=False).encode())
    files.write_bytes(target.card, card.encode())
    files.write_json(target.manifest, {"sha256": _hash_files(target)})


def is_exported(folder: RunFolder) -> bool:
    """Whether a folder holds an exported run."""
    return folder.manifest.exists() or folder.parameters.exists()


def verify(folder: RunFolder) -> None:
    """Raises UserError where a file of an exported run is missing or not as it was written; names it."""
    expected = files.read_json(folder.manifest)
    there = _hash_files(folder)
    if not isinstance(expected, dict) or not isinstance(hashes := expected.get("sha256"), dict):
        raise UserError(f"{folder.manifest}: damaged; get the folder again")
    for name in sorted(hashes.keys() | there.keys()):
        if hashes.get(name) != there.get(name):
            state = "has changed" if name in hashes and name in there else "is missing or new"
            raise UserError(f"{folder.path / name} {state}; get the folder again")


def read(folder: RunFolder, part: str, abstract: Variables) -> Variables:
    """Returns the variables of a stage of an exported run. Raises UserError where its parameters are damaged or not
    those of this version's model, whose shapes and dtypes `abstract` has."""
    expected = dict(_flatten(abstract))
    found = npz.read_npz(folder.parameters, [f"{part}{name}" for name in expected], _MAX_BYTES)
    for name, wanted in expected.items():
        array = found[f"{part}{name}"]
        if array.shape != wanted.shape or array.dtype.kind != np.dtype(wanted.dtype).kind:
            raise UserError(f"{folder.parameters}: of another version ({name} is {array.dtype} {list(array.shape)})")
    leaves = [jnp.asarray(found[f"{part}{name}"], wanted.dtype) for name, wanted in expected.items()]
    return jax.tree.unflatten(jax.tree.structure(abstract), leaves)


def hash_variables(tree: Variables) -> str:
    """Returns the sha256 of the names and values of arrays."""
    digest = hashlib.sha256()
    for name, array in _flatten(tree):
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.asarray(array).tobytes())
    return digest.hexdigest()


def _flatten(tree: chex.ArrayTree) -> Iterator[tuple[str, chex.Array]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path), leaf


def _halve(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float16) if array.dtype == np.float32 else array


def _hash_files(folder: RunFolder) -> dict[str, str]:
    paths = (folder.config, folder.run, folder.calibration, folder.composer.pieces, folder.parameters, folder.card)
    return {path.relative_to(folder.path).as_posix(): files.hash_file(path) for path in paths if path.is_file()}
