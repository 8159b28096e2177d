"""vae_jax.ingest: the report of a corpus, file by file; shards are tested in tests/data/test_shards.py."""

from __future__ import annotations

import json
import pathlib

import pytest
from builders import tune_bytes
from command_line import assert_one_error, assert_success, call, run
from notations import ABC, KERN, attributes, musicxml, mxl, note

from vae_jax.data import download
from vae_jax.runtime.errors import UserError


def read_report(path: pathlib.Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_all_anthems_are_read(anthems: pathlib.Path, tmp_path: pathlib.Path):
    output = tmp_path / "new" / "ingest.json"
    done = call("ingest", f"--path={anthems}", f"--output={output}")
    assert_success(done)
    last = "135 files: 135 loaded (1 of them repaired), 0 refused, 153,617 notes, 127 tunes"
    assert done.stdout.splitlines()[-1] == last
    report = read_report(output)
    totals = {"files": 135, "loaded": 135, "repaired": 1, "refused": 0, "notes": 153_617, "tunes": 127}
    assert report["totals"] == totals
    assert len(report["files"]) == 135
    assert sum(file["notes"] for file in report["files"]) == 153_617
    folder = "NationalAnthems"
    assert [file["path"] for file in report["files"] if file["status"] == "repaired"] == [f"{folder}/Mongolia.mid"]
    assert [f"{folder}/China.mid", f"{folder}/Hong_Kong.mid"] in report["duplicates"]
    assert [f"{folder}/Cyprus.mid", f"{folder}/Greece.mid"] in report["duplicates"]


def test_each_file_has_its_status_and_reasons(tmp_path: pathlib.Path):
    """As a process of its own, with a name that would clear the terminal."""
    folder = tmp_path / "songs"
    folder.mkdir()
    (folder / "good.mid").write_bytes(tune_bytes(0))
    (folder / "odd\x1b[2J.mid").write_bytes(b"\0" + tune_bytes(1))
    (folder / "text.mid").write_text("Dear diary,")
    done = run("-m", "vae_jax.ingest", f"--path={folder}", f"--output={tmp_path / 'ingest.json'}")
    assert_success(done)
    assert done.stdout.splitlines()[-1].startswith("3 files: 2 loaded (1 of them repaired), 1 refused, 80 notes, ")
    assert "not a MIDI file (no MThd header)" in done.stdout
    assert "\x1b" not in done.stdout
    report = {file["path"]: file for file in read_report(tmp_path / "ingest.json")["files"]}
    assert report["good.mid"]["status"] == "loaded"
    assert (report["good.mid"]["notes"], report["good.mid"]["tracks"], report["good.mid"]["reasons"]) == (40, 1, [])
    assert report["odd\x1b[2J.mid"]["reasons"] == ["bytes skipped before the header: 1"]
    assert (report["text.mid"]["status"], report["text.mid"]["notes"]) == ("refused", 0)
    assert report["text.mid"]["reasons"] == ["not a MIDI file (no MThd header)"]


def test_other_notations_are_reported_with_what_was_left_out(tmp_path: pathlib.Path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    ornament = note("D4", 8, inside="<notations><ornaments><turn/></ornaments></notations>")
    files = {
        "a.mid": tune_bytes(),
        "b.kar": tune_bytes(1),
        "c.mxl": mxl(musicxml([attributes() + note("C4", 8) + ornament])),
    }
    files |= {"d.abc": ABC, "e.krn": KERN, "f.xml": b"<project/>"}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    done = call("ingest", f"--path={folder}", f"--output={tmp_path / 'ingest.json'}")
    assert_success(done)
    lines = done.stdout.splitlines()
    assert lines[-1] == "6 files: 5 loaded (0 of them repaired), 1 refused, 96 notes, 5 tunes"
    assert "    ornaments left out" in lines
    report = {file["path"]: file for file in read_report(tmp_path / "ingest.json")["files"]}
    assert report.keys() == files.keys()
    assert (report["c.mxl"]["status"], report["c.mxl"]["remarks"]) == ("loaded", ["ornaments left out"])
    assert (report["d.abc"]["meter"], report["d.abc"]["key"]) == ("3/4", "D minor")
    assert report["f.xml"]["reasons"] == ["no score in MusicXML's partwise form (its root is <project>)"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--path=no/such/folder"], ["no/such/folder", "no such file or folder"]),
        (["--path=run.py"], ["run.py", "not a MIDI file"]),
        (["--path=configs"], ["configs", "no music file found"]),
        (["--path=configs", "--ouptut=x"], ["ouptut"]),
        (["--workers=2"], ["--workers requires --shards"]),
        (["--config=configs/smoke.py"], ["--config requires --shards"]),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], parts: list[str]):
    assert_one_error(call("ingest", *arguments), *parts)


def test_without_a_network_the_advice_is_a_flag_of_ingest(monkeypatch: pytest.MonkeyPatch):
    def fail(url: str) -> pathlib.Path:
        raise UserError(f"the national anthems could not be downloaded from {url} (no network)")

    monkeypatch.setattr(download, "fetch_anthems", fail)
    done = call("ingest")
    assert_one_error(done, "give your own files with --path=FOLDER_OR_ZIP")


def test_a_very_long_name_does_not_widen_every_row(tmp_path: pathlib.Path):
    for name in ("short", "x" * 240):
        (tmp_path / f"{name}.mid").write_bytes(tune_bytes(0))
    done = call("ingest", f"--path={tmp_path}")
    assert_success(done)
    assert "…" in done.stdout and max(map(len, done.stdout.splitlines()[:-2])) < 130


def test_a_mistake_is_one_line_of_the_process():
    assert_one_error(run("-m", "vae_jax.ingest", "--path=run.py"), "run.py", "not a MIDI file")
