"""The user's cache folder, for the published archive and for compiled programs.

The environment variable `VAE_JAX_CACHE` names another folder, or is `off`: then only the archive is kept.
"""

import os
import pathlib

import platformdirs

VARIABLE = "VAE_JAX_CACHE"
_OFF = "off"


def folder() -> pathlib.Path:
    """Returns the folder, which may not exist yet; by default the platform's own for this user."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen and chosen != _OFF:
        return pathlib.Path(chosen).expanduser()
    return pathlib.Path(platformdirs.user_cache_dir("vae_jax", appauthor=False))


def is_on() -> bool:
    """Whether what can be computed again may be kept."""
    return os.environ.get(VARIABLE) != _OFF
