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
    """As many pieces of the same seed as the run has composed have the same scores."""
    before = json.loads((copied / "metrics.json").read_text())
    assert (before["composed"]["seed"], before["composed"]["pieces"]["composed"]) == (0, 4)
    (copied / "metrics.json").write_text(json.dumps(before | {"composed": {}}))
    done = call("evaluate", f"--workdir={copied}", "--num=4", "--seed=0")
    assert_success(done)
    assert "corpus: synthetic" in done.stdout and "composed pieces" in done.stdout
    assert json.loads((copied / "metrics.json").read_text()) == before


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


def test_a_run_that_lacks_a_file_is_refused(copied: pathlib.Path):
    (copied / "metrics.json").unlink()
    assert_one_error(call("evaluate", f"--workdir={copied}"), "metrics.json", "let run.py finish")


def test_runs_are_compared(small_run: pathlib.Path, tmp_path: pathlib.Path):
    """With a copy that has lost one note of one piece, and with a run that holds out other tunes."""
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.json", "run.json"):
        shutil.copy(small_run / name, other)
    metrics = json.loads((small_run / "metrics.json").read_text())
    row = next(row for row in metrics["pieces"] if row["part"] == "held_out" and row["counts"]["drum_f1_50ms"][1])
    row["counts"]["drum_f1_50ms"][2] += 1000
    (other / "metrics.json").write_text(json.dumps(metrics))
    done = call("evaluate", "--compare", small_run, other)
    assert_success(done)
    assert f"A: {small_run}\nB: {other}" in done.stdout
    lines = {line[:54].strip(): line[54:].split() for line in done.stdout.splitlines()}
    assert lines["note F1 at 50 ms"][-3:] == ["0", "of", "2"]
    assert float(lines["drum F1 at 50 ms"][2]) < 0
    for n, row in enumerate(row for row in metrics["pieces"] if row["part"] == "held_out"):
        row["path"] = f"{n}.mid"
    (other / "metrics.json").write_text(json.dumps(metrics))
    assert_one_error(call("evaluate", "--compare", small_run, other), str(small_run), "other tunes", "split_seed")
    (other / "metrics.json").unlink()
    assert_one_error(call("evaluate", "--compare", small_run, other), "no metrics.json yet", str(other))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--compare"], ["--compare RUN RUN"]),
        (["--compare", "a"], ["--compare RUN RUN"]),
        (["--compare", "a", "b"], ["a: no run here"]),
        (["a", "b"], ["unexpected argument 'a'"]),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments: list[str], parts: list[str]):
    assert_one_error(call("evaluate", *arguments), *parts)


def test_a_mistake_is_one_line_of_the_process():
    assert_one_error(run("-m", "vae_jax.evaluate", "--num=1"), "num")
