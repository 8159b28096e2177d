"""A cross-validation: every fold in its folder, resumed where it stopped, summed up and linked."""

from __future__ import annotations

import html.parser
import json
import pathlib

import pytest
from builders import tune_bytes
from command_line import assert_one_error, assert_success, call
from scored_pieces import metrics, piece

from configs import smoke
from vae_jax.data.shards import corpus_view
from vae_jax.report import cross_validation, folds_page
from vae_jax.runtime import distributed, files
from vae_jax.runtime.config import Fields
from vae_jax.runtime.errors import UserError
from vae_jax.training import run_dir
from vae_jax.training.run_dir import RunFolder


@pytest.fixture
def config(tmp_path: pathlib.Path) -> Fields:
    """Five tunes of hostile names in two folds of two."""
    (tmp_path / "songs").mkdir()
    for n in range(5):
        (tmp_path / "songs" / f"<b>{n}.mid").write_bytes(tune_bytes(n))
    made = smoke.get_config().to_dict()
    return {**made, "data": {**made["data"], "path": str(tmp_path / "songs"), "num_folds": 2, "num_held_out": 2}}


class Runs:
    """Stands for the main job: opens the folder of a run, as it does, and writes scores; fails where it is told to."""

    def __init__(self, fails_in: int = -1):
        self.fails_in = fails_in
        self.made: list[str] = []

    def __call__(self, config: Fields, workdir: str, *, repeat_evaluation: bool) -> None:
        source, split = corpus_view.find_split(config["data"], config["representation"])
        folder = run_dir.open_run(workdir, config, source, split)
        if folder.is_finished and not repeat_evaluation:
            return
        self.made.append(folder.path.name)
        rows = [piece(source.pieces[n].path, 4 + n) for n in split.held_out]
        files.write_json(folder.metrics, metrics(*rows))
        if config["data"]["fold"] == self.fails_in:
            raise UserError("the loss is not finite")
        files.write_json(folder.timing, {"seconds": 1})
        files.write_bytes(folder.report, b"<!doctype html>")


class Links(html.parser.HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.links: set[str | None] = set()
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "a":
            self.links.add(dict(attrs)["href"])


def read(path: pathlib.Path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_fold_is_run_summed_up_and_linked(config: Fields, tmp_path: pathlib.Path):
    folder, runs = tmp_path / "run", Runs()
    results = cross_validation.run_folds(config, str(folder), runs)
    assert runs.made == ["fold_0", "fold_1"]
    assert read(folder / "metrics.json") == results
    held_out = [read(folder / f"fold_{n}" / "run.json")["split"]["held_out"] for n in range(2)]
    assert [len(paths) for paths in held_out] == [2, 2]
    assert {(row["path"], row["fold"]) for row in results["pieces"]} == {
        (path, n) for n, paths in enumerate(held_out) for path in paths
    }
    assert results["held_out"]["tunes"] == 4
    assert sorted(read(folder / "run.json")["split"]["held_out"]) == sorted(held_out[0] + held_out[1])
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Links(text)
    assert page.links == {"#main", "fold_0/report.html", "fold_1/report.html"}
    assert page.tags.isdisjoint({"b", "script"})
    assert f"{results['held_out']['note_f1_50ms']:.4f}" in text and "4 tunes (4 files)" in text


def test_what_is_finished_is_not_run_again(config: Fields, tmp_path: pathlib.Path):
    folder = tmp_path / "run"
    with pytest.raises(UserError, match="not finite"):
        cross_validation.run_folds(config, str(folder), Runs(fails_in=1))
    assert not (folder / "metrics.json").exists()
    runs = Runs()
    first = cross_validation.run_folds(config, str(folder), runs)
    assert runs.made == ["fold_1"]
    again = Runs()
    assert cross_validation.run_folds(config, str(folder), again) == first
    assert again.made == []


def test_folds_that_were_run_apart_are_summed_up(config: Fields, tmp_path: pathlib.Path):
    folder = tmp_path / "run"
    for n in (1, 0):
        one = {**config, "data": {**config["data"], "fold": n}}
        Runs()(one, str(folder / f"fold_{n}"), repeat_evaluation=True)
    runs = Runs()
    assert cross_validation.run_folds(config, str(folder), runs)["num_folds"] == 2
    assert runs.made == []


@pytest.mark.parametrize("place", ["fold_0", "", "fold_2"])
def test_a_folder_of_something_else_is_refused(config: Fields, tmp_path: pathlib.Path, place: str):
    """Another experiment in a fold's folder or in that of all, or a folder that is none of them."""
    one = {**config, "seed": 1, "data": {**config["data"], "fold": 0}}
    Runs()(one, str(tmp_path / "run" / place), repeat_evaluation=True)
    message = "not a run's folder" if place == "fold_2" else "config.seed is 1 there and 0 here"
    with pytest.raises(UserError, match=message):
        cross_validation.run_folds(config, str(tmp_path / "run"), Runs())


def test_several_processes_run_folds_apart(config: Fields, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(distributed, "is_joined", lambda: True)
    with pytest.raises(UserError, match=r"one fold at a time: --config.data.fold=N"):
        cross_validation.run_folds(config, str(tmp_path / "run"), Runs())
    assert not (tmp_path / "run").exists()


def test_commands_that_need_one_run_name_a_fold(config: Fields, tmp_path: pathlib.Path):
    folder = tmp_path / "run"
    cross_validation.run_folds(config, str(folder), Runs())
    for command in ("compose", "reconstruct", "sample"):
        arguments = [f"--workdir={folder}", f"--output={tmp_path / 'out'}", "--input=x.mid"]
        done = call(command, *arguments[: 3 if command == "reconstruct" else 2])
        assert_one_error(done, "a run for each fold", str(folder / "fold_0"))
    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    assert_success(call("report", f"--workdir={folder}"))
    assert (folder / "report.html").read_bytes() == before
    done = call("evaluate", f"--workdir={folder}")
    assert_success(done)
    assert "2 folds, 4 tunes held out once" in done.stdout


def test_a_page_needs_the_sum(config: Fields, tmp_path: pathlib.Path):
    folder = tmp_path / "run"
    cross_validation.run_folds(config, str(folder), Runs())
    (folder / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"no metrics.json yet; let run.py finish"):
        folds_page.write_page(RunFolder(folder))
