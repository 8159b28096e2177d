"""Latents in files: what is saved comes back, and what is no such file is refused."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

from vae_jax.models import latent_io, latents
from vae_jax.models.posterior import Posterior
from vae_jax.music.score import KeySignature, Meter, Tempo, make_notes, make_score
from vae_jax.representations.note_matrix import NoteMatrixRepresentation
from vae_jax.runtime import npz
from vae_jax.runtime.errors import UserError


@pytest.fixture
def saved(tmp_path):
    representation = NoteMatrixRepresentation()
    score = make_score(
        96,
        make_notes([0, 96], 96, [60, 64], program=[3, 3]),
        track_names=["<b>&"],
        tempos=[Tempo(0, 400_000)],
        meters=[Meter(0, 3, 4)],
        keys=[KeySignature(0, -3, True)],
    )
    context = representation.encode(score).context
    posterior = Posterior(np.array([[0.5, -1.5]], np.float32), np.zeros((1, 2), np.float32))
    path = tmp_path / "x.latents.npz"
    latent_io.save(path, posterior, context, "run")
    return path, representation, context, posterior


def test_latents_survive_their_file(saved):
    path, representation, context, posterior = saved
    mean, again = latent_io.load(str(path), representation, 2, "run")
    np.testing.assert_array_equal(mean, posterior.mean)
    assert again == context


def test_latents_of_another_run_and_damaged_files_are_refused(saved, tmp_path):
    path, representation, _, _ = saved
    with pytest.raises(UserError, match=r"latents of another run \(run, not other\)"):
        latent_io.load(str(path), representation, 2, "other")
    with pytest.raises(UserError, match="latents where"):
        latent_io.load(str(path), representation, 3, "run")
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="damaged"):
        latent_io.load(str(damaged), representation, 2, "run")
    with pytest.raises(UserError, match="cannot be read"):
        latent_io.load(str(tmp_path / "missing.npz"), representation, 2, "run")


@pytest.mark.parametrize(
    "described",
    ["no json", "[]", "{}", '{"run_id": "run"}', '{"run_id": "run", "context": {"tracks": []}}', "[" * 100_000],
)
def test_a_context_that_does_not_fit_is_refused_in_one_line(saved: Any, tmp_path: pathlib.Path, described: str):
    _, representation, _, _ = saved
    other = tmp_path / "other.npz"
    npz.write_npz(other, mean=np.zeros((1, 2), np.float32), json=np.frombuffer(described.encode(), np.uint8))
    with pytest.raises(UserError, match="not a file of latents") as caught:
        latent_io.load(str(other), representation, 2, "run")
    assert len(str(caught.value).splitlines()) == 1


def test_the_density_of_a_run_is_fitted_to_its_training_examples(tmp_path: pathlib.Path):
    rng = np.random.default_rng(0)
    mean = np.concatenate([rng.normal(3, 1, (500, 2)), rng.normal(-50, 1, (500, 2))])
    npz.write_npz(tmp_path / "latents.npz", mean=mean, is_training=np.repeat([True, False], 500))
    density = latent_io.load_density(latents.POSTERIOR, tmp_path / "latents.npz")
    np.testing.assert_allclose(density.mean, [3, 3], atol=0.2)
    np.testing.assert_allclose(density.factor, np.eye(2), atol=0.2)
    assert latent_io.load_density(latents.PRIOR, tmp_path / "missing.npz") is None
    with pytest.raises(UserError, match="let run\\.py finish, or use --density=prior"):
        latent_io.load_density(latents.POSTERIOR, tmp_path / "missing.npz")
