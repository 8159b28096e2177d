"""The latents of a run by piece."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from vae_jax.evaluation import composer
from vae_jax.runtime import npz
from vae_jax.runtime.errors import UserError
from vae_jax.training.run_dir import RunFolder


def test_latents_are_read_piece_by_piece(tmp_path: pathlib.Path):
    """Piece 1 has no window."""
    folder = RunFolder(tmp_path)
    mean = np.arange(8, dtype=np.float32).reshape(4, 2)
    is_training = np.array([True, True, False, True])
    npz.write_npz(folder.latents, piece=np.array([0, 0, 2, 3]), mean=mean, is_training=is_training)
    found = [(latents.tolist(), training) for latents, training in composer.read_latents(folder)]
    assert found == [([[0, 1], [2, 3]], True), ([], False), ([[4, 5]], False), ([[6, 7]], True)]


def test_a_run_without_latents_is_refused(tmp_path: pathlib.Path):
    with pytest.raises(UserError, match=r"let run\.py finish"):
        composer.read_latents(RunFolder(tmp_path))
