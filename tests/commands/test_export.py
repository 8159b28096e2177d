"""An exported run takes the place of a run's folder; it is small, hashed, and another run can start from it."""

from __future__ import annotations

import json
import pathlib
import shutil
from unittest import mock

import jax
import numpy as np
import pytest
from command_line import SMALL, assert_one_error, assert_success, call, content

from vae_jax.composer import stage
from vae_jax.data.splits import Split
from vae_jax.evaluation import reconstruction
from vae_jax.runtime.errors import UserError
from vae_jax.training import experiment, exported
from vae_jax.training.experiment import load_experiment
from vae_jax.training.run_dir import RunFolder


@pytest.fixture(scope="module")
def export(small_run: pathlib.Path, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("exports") / "small"
    notes = folder.parent / "notes.txt"
    notes.write_text("Six synthetic pieces, in the public domain.")
    assert_success(call("export", f"--workdir={small_run}", f"--output={folder}", f"--notes={notes}"))
    return folder


@pytest.fixture
def copied(export: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    return shutil.copytree(export, tmp_path / "copy")


def test_both_stages_come_back_in_half_precision(small_run: pathlib.Path, export: pathlib.Path):
    there, here = (load_experiment(str(path)) for path in (small_run, export))
    both = [(one.variables, stage.load_composer(one)) for one in (there, here)]
    assert here.step == there.step > 0 and here.calibration == there.calibration
    (first, composer), (second, loaded) = both
    for one, other in ((first, second), (composer.variables, loaded.variables)):
        assert jax.tree.structure(one) == jax.tree.structure(other)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
    assert loaded.num_updates == composer.num_updates > 0
    assert loaded.conditions == composer.conditions


def test_the_same_run_gives_the_same_folder(small_run: pathlib.Path, export: pathlib.Path, tmp_path: pathlib.Path):
    notes = export.parent / "notes.txt"
    again = tmp_path / "again"
    assert_success(call("export", f"--workdir={small_run}", f"--output={again}", f"--notes={notes}"))
    assert content(again) == content(export)
    assert_one_error(call("export", f"--workdir={small_run}", f"--output={again}"), "not empty")


def test_the_card_says_what_it_is(export: pathlib.Path):
    card = (export / "README.md").read_text()
    for text in ("in the public domain", "synthetic (6 pieces", "sha256", "note F1 at 50 ms", "nats a beat", "updates"):
        assert text in card


def test_it_composes_and_reconstructs(export: pathlib.Path, tmp_path: pathlib.Path):
    done = call("compose", f"--workdir={export}", "--num=1", "--bars=4", f"--output={tmp_path / 'pieces'}")
    assert_success(done)
    assert (tmp_path / "pieces" / "composition_000.mid").exists()
    source = tmp_path / "pieces" / "composition_000.mid"
    assert_success(call("reconstruct", f"--workdir={export}", f"--input={source}", f"--output={tmp_path / 'out'}"))


@pytest.mark.parametrize("name", ["parameters.npz", "config.json", "run.json", "composer/pieces.json", "README.md"])
@pytest.mark.parametrize("damage", ["changed", "truncated", "missing"])
def test_a_folder_that_was_tampered_with_is_refused(copied: pathlib.Path, name: str, damage: str):
    path = copied / name
    data = path.read_bytes()
    if damage == "changed":
        path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    elif damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.unlink()
    done = call("compose", f"--workdir={copied}", "--num=1", f"--output={copied / 'out'}")
    assert_one_error(done, str(copied))


def test_parameters_of_another_version_are_refused(copied: pathlib.Path):
    folder = RunFolder(copied)
    config = json.loads(folder.config.read_text())
    config["model"]["latent_dim"] = 5
    folder.config.write_text(json.dumps(config))
    manifest = {"sha256": exported._hash_files(folder)}
    folder.manifest.write_text(json.dumps(manifest))
    done = call("sample", f"--workdir={copied}", "--num=1", f"--output={copied / 'out'}")
    assert_one_error(done, "of another version")


def test_a_manifest_that_is_none_is_refused(copied: pathlib.Path):
    for text in ("[]", '{"sha256": 1}', "{"):
        (copied / "manifest.json").write_text(text)
        assert_one_error(call("sample", f"--workdir={copied}", f"--output={copied / 'out'}"), "manifest.json")


def test_a_run_starts_from_it(export: pathlib.Path, small_run: pathlib.Path, tmp_path: pathlib.Path):
    """With tiny steps, both stages stay where they started; the folder names what it started from.

    Its pieces are not scored.
    """
    small = ("--config.optimizer.learning_rate=1e-9", "--config.composer.optimizer.learning_rate=1e-9")
    options = (*SMALL, *small, "--config.train.num_epochs=1", "--config.seed=5")
    starts = f"--config.init_from={export}", f"--config.composer.init_from={export}"
    with mock.patch.object(reconstruction, "evaluate", side_effect=UserError("enough")):
        assert_one_error(call("run.py", *options, *starts, f"--workdir={tmp_path / 'run'}"), "enough")
    start, run = load_experiment(str(export)), load_experiment(str(tmp_path / "run"))
    np.testing.assert_allclose(run.variables["params"]["kernel"], start.variables["params"]["kernel"], atol=1e-5)
    first, second = (stage.load_composer(one).variables["params"]["decoder"] for one in (start, run))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), first, second)
    described = json.loads((tmp_path / "run" / "run.json").read_text())["init_from"]
    for part in ("model", "composer"):
        assert described[part]["run_id"] == json.loads((small_run / "run.json").read_text())["run_id"]
        assert described[part]["sha256"] == exported.hash_variables(start.variables)
    other = call("run.py", *options, f"--workdir={tmp_path / 'run'}")
    assert_one_error(other, "started from other parameters")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--config.model.kernel_beats=5", "model.kernel_beats is 3, the config's 5"),
        ("--config.representation.num_pitches=60", "representation.num_pitches is 84, the config's 60"),
        ("--config.composer.channels=8", "composer.channels is 16, the config's 8"),
        ("--config.init_from=no/such", "no run here"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(export: pathlib.Path, tmp_path: pathlib.Path, change: str, message: str):
    starts = f"--config.init_from={export}", f"--config.composer.init_from={export}"
    done = call("run.py", *SMALL, *starts, change, f"--workdir={tmp_path / 'run'}")
    assert_one_error(done, message)


def test_a_start_that_has_seen_the_held_out_pieces_is_not_used(export: pathlib.Path, capsys):
    """As where the anthems cannot be downloaded and the chorales, which the shipped run knows, replace them."""
    start = load_experiment(str(export))
    corpus, same = start.load_corpus()
    other = Split(same.held_out, same.train)
    assert experiment.load_start(str(export), corpus, same) is not None
    assert not capsys.readouterr().err
    assert experiment.load_start(str(export), corpus, other) is None
    assert "trained on 4 of the pieces that are held out; training starts from nothing" in capsys.readouterr().err
