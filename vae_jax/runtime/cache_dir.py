"""Where a user's cache lies: the published archive and compiled programs.

The environment variable `VAE_JAX_CACHE` names another folder, or is `off`: then nothing is kept but the archive.
"""

from __future__ import annotations

import os
import pathlib

import platformdirs

VARIABLE = "VAE_JAX_CACHE"
_OFF = "off"


def folder() -> pathlib.Path:
    """Returns the folder, which may not be there yet: the platform's own for this user, unless told otherwise."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen and chosen != _OFF:
        return pathlib.Path(chosen).expanduser()
    return pathlib.Path(platformdirs.user_cache_dir("vae_jax", appauthor=False))


def is_on() -> bool:
    """Whether what can be made again may be kept."""
    return os.environ.get(VARIABLE) != _OFF
