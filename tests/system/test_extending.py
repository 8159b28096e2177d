"""docs/extending.md: its code is executed as it stands there, and its model is trained by run.py."""

from __future__ import annotations

import json
import math
import pathlib
import re
import sys
import types
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import REPOSITORY, assert_success, call

from vae_jax.data import synthetic
from vae_jax.models import factory as model_factory
from vae_jax.models import losses
from vae_jax.music.score import make_notes, make_score
from vae_jax.representations import factory as representation_factory
from vae_jax.runtime.errors import UserError

PAGE = (REPOSITORY / "docs/extending.md").read_text(encoding="utf-8")
REPRESENTATION, REPRESENTATION_LINE, MODEL, MODEL_LINE, LOSS, LOSS_LINE, CONFIG = re.findall(
    r"```python\n(.*?)```", PAGE, re.DOTALL
)


def module_of(code: str, monkeypatch: pytest.MonkeyPatch, **given: Any) -> dict[str, Any]:
    """Executes code as a module of its own."""
    module = types.ModuleType("extension")
    monkeypatch.setitem(sys.modules, "extension", module)
    module.__dict__.update(given)
    exec(code, module.__dict__)
    return module.__dict__


@pytest.fixture
def extended(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page defines, with its three lines in the tables that it names."""
    names = module_of(LOSS, monkeypatch, jnp=jnp)
    names |= module_of(REPRESENTATION, monkeypatch) | module_of(MODEL, monkeypatch)
    for table, line in (
        (representation_factory.REPRESENTATIONS, REPRESENTATION_LINE),
        (model_factory.MODELS, MODEL_LINE),
        (losses.DISTORTIONS, LOSS_LINE),
    ):
        assert line.count("\n") == 1
        for name, value in eval("{" + line + "}", names).items():
            monkeypatch.setitem(table, name, value)
    return names


def test_the_representation_by_hand(extended: dict[str, Any]):
    representation = representation_factory.make_representation({"name": "chroma", "window_beats": 2})
    # One and a half beats of C, a half of E in two octaves, a drum; three beats are two windows of two.
    notes = make_notes([0, 480, 480, 0, 960], [720, 240, 240, 480, 480], [60, 64, 76, 36, 67], channel=[0, 0, 0, 9, 0])
    encoded = representation.encode(make_score(480, notes))
    expected = np.zeros((2, 2, 12), np.float32)
    expected[0, :, 0], expected[0, 1, 4], expected[1, 0, 7] = (1, 0.5), 1, 1
    np.testing.assert_array_equal(encoded.examples.shares, expected)
    assert encoded.report == {"notes": 5}
    decoded = representation.decode(encoded)
    assert decoded.notes.onset_ticks.tolist() == [0, 480, 480, 960]
    assert decoded.notes.pitch.tolist() == [60, 60, 64, 67]
    again = representation.encode(decoded).examples.shares
    np.testing.assert_array_equal(again, expected > 0.3)


def test_the_loss_is_a_density(extended: dict[str, Any]):
    x = jnp.linspace(-5, 5, 100_001).reshape(-1, 1)
    density = np.exp(-np.asarray(extended["laplace_nll"](jnp.full_like(x, 0.5), x), np.float64))
    assert np.trapezoid(density, np.asarray(x, np.float64)[:, 0]) == pytest.approx(1, abs=1e-4)
    assert extended["laplace_nll"](jnp.zeros((3, 2, 4)), jnp.zeros((3, 2, 4))).shape == (3,)


def test_run_py_trains_evaluates_and_draws_it(extended: dict[str, Any], tmp_path: pathlib.Path):
    (tmp_path / "chroma.py").write_text(CONFIG)
    changes = {"data.path": "synthetic", "data.num_synthetic": 6, "data.num_held_out": 2, "sample.num": 1}
    options = [f"--config.{name}={value}" for name, value in (changes | {"train.num_epochs": 20}).items()]
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # Of ml_collections.
        done = call("run.py", f"--config={tmp_path / 'chroma.py'}", f"--workdir={tmp_path / 'run'}", *options)
    assert_success(done)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]
    scores = json.loads((tmp_path / "run/metrics.json").read_text())
    for subset in ("training", "held_out"):
        found = scores[subset]
        assert found["latent_dim"] == 8
        assert 0 < found["ceiling_note_f1_50ms"] < 1
        assert found["note_f1_50ms"] <= found["ceiling_note_f1_50ms"] + 0.05
        assert math.isfinite(found["baseline_mean_loss"])
    written = {path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*.mid")}
    assert {"samples/prior_000.mid", "samples/posterior_000.mid"} < written
    assert len(written) == 2 + 2 * 6
    assert (tmp_path / "run/report.html").stat().st_size > 10_000
    reconstructed = call(
        "reconstruct",
        f"--workdir={tmp_path / 'run'}",
        f"--input={tmp_path / 'run/samples/prior_000.mid'}",
        f"--output={tmp_path / 'out'}",
        "--save_latents",
    )
    assert_success(reconstructed)
    assert [path.name for path in (tmp_path / "out").glob("*.npz")] == ["prior_000.latents.npz"]


def test_a_new_model_takes_the_examples_of_its_representation_alone(extended: dict[str, Any]):
    with pytest.raises(UserError, match=r"takes config\.representation\.name=chroma, not note_matrix"):
        model_factory.make_model({"name": "dense_vae"}, {"name": "note_matrix"}, (150, 3, 9))
    model = model_factory.make_model({"name": "dense_vae", "distortion": "laplace"}, {"name": "chroma"}, (8, 12))
    assert model.latent_dim == 2
    piece = representation_factory.make_representation({"name": "chroma"}).encode(synthetic.make_score(0, 0))
    variables = jax.jit(model.init)(jax.random.key(0), piece.examples.shares, jax.random.key(1))
    output = jax.jit(model.apply)(variables, piece.examples.shares, jax.random.key(2))
    assert output.loss(1.0).shape == (len(piece.examples.shares),)
