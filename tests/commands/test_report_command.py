"""vae_jax.report: the page of a run, made again from its folder."""

from __future__ import annotations

import json
import pathlib
import re
import shutil

from command_line import assert_one_error, assert_success, call, run


def read_data(page: str) -> dict:
    """What the scripts of a page draw and play."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_command_makes_the_page_of_the_run_again(small_run: pathlib.Path, tmp_path: pathlib.Path):
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    first = (folder / "report.html").read_text(encoding="utf-8")
    (folder / "report.html").unlink()
    done = run("-m", "vae_jax.report", f"--workdir={folder}")
    assert_success(done)
    assert done.stdout.startswith(f"{folder / 'report.html'}: ")
    assert (folder / "report.html").read_text(encoding="utf-8") == first
    data = read_data(first)
    assert all("original" in piece and "reconstruction" in piece for piece in data["pieces"])
    assert [len(one["steps"]) for one in data["interpolations"]] == [9]
    assert len(data["grid"]["cells"]) == 64
    for piece in data["pieces"]:
        assert (folder / piece["original"]["url"]).is_file()


def test_without_a_checkpoint_the_page_has_no_decoded_music(smoke_run: pathlib.Path, tmp_path: pathlib.Path):
    folder = tmp_path / "run"
    shutil.copytree(smoke_run, folder, ignore=lambda path, names: ["checkpoints"])
    assert_success(call("report", f"--workdir={folder}"))
    page = (folder / "report.html").read_text(encoding="utf-8")
    data = read_data(page)
    assert (data["grid"], data["interpolations"], len(data["pieces"])) == (None, [], 16)
    assert "No interpolations" in page


def test_a_folder_without_a_run_is_one_line_of_the_process(tmp_path: pathlib.Path):
    done = run("-m", "vae_jax.report", f"--workdir={tmp_path}")
    assert_one_error(done, f"{tmp_path}: no run here (no config.json); give the --workdir of a run")
