"""NumPy archives (`.npz`): written whole or not at all, read without pickle and only up to a size."""

import lzma
import pathlib
import tokenize
import zipfile
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.lib import format as npy

from vae_jax.runtime import files
from vae_jax.runtime.errors import UserError

_MAX_BYTES = 2**32
# What zipfile and NumPy raise for bytes that they cannot use, an impossible shape for instance.
_DAMAGE = (ValueError, KeyError, TypeError, EOFError, RuntimeError, MemoryError, SyntaxError, tokenize.TokenError)
_ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def write_npz(path: pathlib.Path, **arrays: np.ndarray) -> None:
    """Writes named arrays as a compressed archive; equal arrays give equal bytes. Raises UserError where it cannot be
    written, a full disk for instance."""
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_npz(path: pathlib.Path, names: Iterable[str], max_bytes: int = _MAX_BYTES) -> dict[str, np.ndarray]:
    """Returns the named arrays of an archive; others in it are not read. Raises UserError where the file cannot be
    read, is damaged, lacks an array, or the arrays take more than `max_bytes`."""
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.getinfo(f"{name}.npy") for name in names}
            size = sum(member.file_size for member in members.values())
            if size > max_bytes:
                raise ValueError(f"the arrays take {size} bytes, more than {max_bytes}")
            for name, member in members.items():
                with archive.open(member) as file:
                    arrays[name] = npy.read_array(file, allow_pickle=False)
                    if file.read(1) or arrays[name].size > member.file_size:  # Items may take 0 bytes.
                        raise ValueError(f"{name} does not have the size that it declares")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (*_DAMAGE, *_ZIP_DAMAGE) as error:
        raise UserError(f"{path}: damaged ({' '.join(str(error).split())[:200]})") from error
    return arrays
