"""vae_jax.evaluate: the scores of a run, those of composed pieces anew."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest
from builders import tune_bytes
from command_line import assert_one_error, assert_success, call, run


@pytest.fixture
def copied(small_run: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    return shutil.copytree(small_run, tmp_path / "run")


def test_composed_pieces_are_scored_anew(copied: pathlib.Path):
    before = json.loads((copied / "metrics.json").read_text())
    done = call("evaluate", f"--workdir={copied}", "--num=4", "--seed=0")
    assert_success(done)
    assert "corpus: synthetic" in done.stdout and "composed pieces" in done.stdout
    assert json.loads((copied / "metrics.json").read_text()) == before  # The run has composed as many of this seed.
    assert_success(call("evaluate", f"--workdir={copied}", "--num=2", "--seed=5"))
    after = json.loads((copied / "metrics.json").read_text())
    assert (after["composed"]["seed"], after["composed"]["pieces"]["composed"]) == (5, 2)
    assert {name: value for name, value in after.items() if name != "composed"} == {
        name: value for name, value in before.items() if name != "composed"
    }


def test_a_run_without_a_composer_shows_its_scores(smoke_run: pathlib.Path):
    before = (smoke_run / "metrics.json").read_bytes()
    done = run("-m", "vae_jax.evaluate", f"--workdir={smoke_run}")
    assert_success(done)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("note F1 at 50 ms  "))
    metrics = json.loads(before)
    assert line.split()[-2:] == [f"{metrics[subset]['note_f1_50ms']:.4f}" for subset in ("held_out", "training")]
    assert (smoke_run / "metrics.json").read_bytes() == before


def test_another_corpus_is_refused(copied: pathlib.Path, tmp_path: pathlib.Path):
    (tmp_path / "songs").mkdir()
    for n in range(4):
        (tmp_path / "songs" / f"{n}.mid").write_bytes(tune_bytes(n))
    before = (copied / "metrics.json").read_bytes()
    done = call("evaluate", f"--workdir={copied}", f"--path={tmp_path / 'songs'}")
    assert_one_error(done, "another corpus", "synthetic", "--path")
    assert (copied / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("name", ["metrics.json", "latents.npz"])
def test_a_run_that_has_not_ended_is_refused(copied: pathlib.Path, name: str):
    (copied / name).unlink()
    assert_one_error(call("evaluate", f"--workdir={copied}"), name, "let run.py finish")


def test_damaged_latents_are_refused(copied: pathlib.Path):
    (copied / "latents.npz").write_bytes(b"PK")
    assert_one_error(call("evaluate", f"--workdir={copied}"), "latents.npz", "damaged")


def test_a_mistake_is_one_line_of_the_process():
    assert_one_error(run("-m", "vae_jax.evaluate", "--num=1"), "num")
