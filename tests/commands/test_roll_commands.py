"""The flagship's commands as a user runs them, on a small model and a few generated pieces."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest
from small_run import SMALL, run

from vae_jax.data import synthetic
from vae_jax.music import midi
from vae_jax.music.score import Meter, make_notes, make_score


@pytest.fixture(scope="module")
def workdir(small_run) -> pathlib.Path:
    return small_run


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> pathlib.Path:
    """A piece, one without drums in a file of its own name, one shorter than a window, and one of drums alone."""
    folder = tmp_path_factory.mktemp("songs")
    (folder / "long.mid").write_bytes(midi.write_midi(synthetic.make_score(9, 0)))
    (folder / "other.mid").write_bytes(midi.write_midi(synthetic.make_score(9, 1)))
    short = make_score(480, make_notes([0, 480], [480, 480], [60, 64]), track_names=["$<img> x"])
    (folder / "short.mid").write_bytes(midi.write_midi(short))
    drums = make_score(480, make_notes(np.arange(8) * 480, 100, 38, channel=9))
    (folder / "drums.mid").write_bytes(midi.write_midi(drums))
    (folder / "silence.mid").write_bytes(midi.write_midi(make_score(480, make_notes([], [], []))))
    return folder


def test_the_run_leaves_its_scores_and_its_music(workdir):
    metrics = json.loads((workdir / "metrics.json").read_text())
    for part in ("held_out", "training"):
        scores = metrics[part]
        for name in ("note_f1_50ms", "note_f1_instrument", "note_f1_grid", "note_f1_grid_part"):
            low, high = scores[f"{name}_interval"]
            assert 0 <= low <= scores[name] <= high <= 1
        assert scores["ceiling_note_f1_50ms"] > 0.95
        assert scores["baseline_pca_note_f1_grid"] > 0
        assert scores["latent_dim"] == 12
        assert scores["kl_nats"] > 0
    assert metrics["training"]["note_f1_grid"] > 0.2
    assert 0 < metrics["held_out"]["baseline_nearest_window_note_f1_grid"] < 1
    assert len(list((workdir / "reconstructions").glob("*.png"))) >= 2
    assert len(list((workdir / "samples").glob("*.mid"))) == 2
    with np.load(workdir / "latents.npz") as latents:
        assert latents["mean"].shape == latents["log_var"].shape == (len(latents["piece"]), 12)
        assert 0 < latents["is_training"].sum() < len(latents["piece"])


def test_a_run_that_lost_its_last_epoch_ends_as_it_did(workdir, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(workdir, again)
    last = max((again / "checkpoints").iterdir())
    shutil.rmtree(last)
    (again / "metrics.json").unlink()
    done = run("run.py", *SMALL, f"--workdir={again}")
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stdout
    for name in ("metrics.json", "metrics.jsonl", "calibration.json"):
        assert (again / name).read_bytes() == (workdir / name).read_bytes(), name
    with np.load(again / "latents.npz") as one, np.load(workdir / "latents.npz") as other:
        for name in other.files:
            np.testing.assert_array_equal(one[name], other[name])


def test_reconstruct_any_file_and_decode_its_latents_again(workdir, songs, tmp_path):
    reconstruct = ("-m", "vae_jax.reconstruct", f"--workdir={workdir}", f"--output={tmp_path}")
    done = run(*reconstruct, f"--input={songs}", "--save_latents")
    assert done.returncode == 0, done.stderr
    assert "silence.mid: refused (the file holds no note)" in done.stdout
    for name in ("long", "other", "short", "drums"):
        midi.read_midi((tmp_path / f"{name}.reconstruction.mid").read_bytes())
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
    original = midi.read_midi((tmp_path / "long.original.mid").read_bytes()).score
    made = midi.read_midi((tmp_path / "long.reconstruction.mid").read_bytes())
    assert not made.warnings
    assert (made.score.tempos, made.score.meters) == (original.tempos, original.meters)
    assert abs(made.score.duration_sec - original.duration_sec) < 10

    again = run(
        "-m",
        "vae_jax.reconstruct",
        f"--workdir={workdir}",
        f"--input={tmp_path / 'long.latents.npz'}",
        f"--output={tmp_path}",
    )
    assert again.returncode == 0, again.stderr
    assert midi.read_midi((tmp_path / "long.decoded.mid").read_bytes()).score == made.score


def test_sample_from_both_densities_same_seed_same_bytes(workdir, tmp_path):
    for density in ("prior", "posterior"):
        for folder in ("a", "b"):
            done = run(
                *("-m", "vae_jax.sample", f"--workdir={workdir}", "--num=2", "--seed=3"),
                *(f"--density={density}", "--temperature=0.7", f"--output={tmp_path / folder}"),
            )
            assert done.returncode == 0, done.stderr
        files = [(tmp_path / folder / "sample_001.mid").read_bytes() for folder in ("a", "b")]
        assert files[0] == files[1]


def test_interpolate_meets_both_ends(workdir, songs, tmp_path):
    done = run(
        *("-m", "vae_jax.interpolate", f"--workdir={workdir}", f"--start={songs / 'long.mid'}"),
        *(f"--end={songs / 'other.mid'}", "--steps=3", "--windows=2", f"--output={tmp_path}"),
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "interpolation.png",
        "step_00.mid",
        "step_01.mid",
        "step_02.mid",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.model.name=post"], "takes config.representation.name=events"),
        (["--config.data.num_folds=50"], "num_folds must lie in"),
        (["--config.model.latent_dim=0"], "latent_dim must be above zero"),
        (["--config.loss.reconstruction=bce"], "config.loss.reconstruction must be one of"),
        (["--config.optimizer.name=sgd"], "config.optimizer.name must be"),
        (["--config.representation.num_pitches=500"], "num_pitches must lie in"),
    ],
)
def test_a_config_that_does_not_fit_ends_in_one_line(arguments, message, tmp_path):
    done = run("run.py", *SMALL, *arguments, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("error:")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_folder_of_a_few_melodies_with_one_track_trains(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "songs").mkdir()
    for n, meter in enumerate([Meter(0, 3, 4), Meter(0, 6, 8), Meter(0, 5, 4), Meter(0, 2, 4)]):
        steps = rng.choice([-2, -1, 1, 2], size=60).cumsum() % 12
        notes = make_notes(np.arange(60) * 240, 240, 60 + steps)
        score = make_score(480, notes, meters=[meter])
        (tmp_path / "songs" / f"melody {n}.MID").write_bytes(midi.write_midi(score))
    done = run(
        *("run.py", *SMALL, f"--config.data.path={tmp_path / 'songs'}", "--config.train.min_steps=400"),
        *("--config.model.latent_dim=32", "--config.representation.training_hop_beats=1"),
        f"--workdir={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["held_out"]["pieces"] == 2
    assert metrics["training"]["ceiling_note_f1_instrument"] == 1
    assert metrics["training"]["note_f1_grid"] > 0.5


def test_latents_of_another_run_are_refused(workdir, tmp_path):
    stranger = tmp_path / "x.npz"
    np.savez(stranger, mean=np.zeros((1, 12)))
    done = run("-m", "vae_jax.reconstruct", f"--workdir={workdir}", f"--input={stranger}", f"--output={tmp_path}")
    assert done.returncode == 1
    assert "not a file of latents" in done.stderr


def test_the_large_config_takes_a_few_steps(tmp_path):
    done = run(
        *("run.py", "--config=configs/anthems_large.py", *SMALL[1:], "--config.data.num_synthetic=3"),
        *("--config.data.num_held_out=1", "--config.train.num_epochs=1", "--config.train.batch_size=8"),
        f"--workdir={tmp_path}/x",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "x" / "metrics.json").read_text())["held_out"]["latent_dim"] == 12
