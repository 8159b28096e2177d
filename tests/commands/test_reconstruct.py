"""vae_jax.reconstruct: any files, whatever their names, and latents that were saved."""

from __future__ import annotations

import pathlib
import subprocess
import zipfile

import numpy as np
import pytest
from builders import tune, tune_bytes
from command_line import PNG, assert_one_error, assert_success, call, content, run

from vae_jax.data import synthetic
from vae_jax.music import midi
from vae_jax.music.score import Score, make_notes, make_score

MEMBERS = ["a b.mid", "a_b.mid", "../../evil.mid", "国歌.mid"]


def read_score(path: pathlib.Path) -> Score:
    reading = midi.read_midi(path.read_bytes())
    assert reading.warnings == ()
    return reading.score


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("reconstruct") / "inner" / "deep" / "out"


@pytest.fixture(scope="module")
def reconstructed(smoke_run: pathlib.Path, output: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Reconstructs a zip of files with awkward names, as a process of its own."""
    output.parent.mkdir(parents=True)
    with zipfile.ZipFile(output.parent / "songs.zip", "w") as archive:
        for n, name in enumerate(MEMBERS):
            archive.writestr(name, tune_bytes(n))
        archive.writestr("text.mid", "Dear diary,")
    before = content(smoke_run)
    arguments = (f"--workdir={smoke_run}", f"--input={output.parent / 'songs.zip'}", f"--output={output}")
    done = run("-m", "vae_jax.reconstruct", *arguments)
    assert content(smoke_run) == before
    return done


def test_music_plots_and_a_line_each(reconstructed: subprocess.CompletedProcess[str], output: pathlib.Path):
    assert_success(reconstructed)
    assert "a b: " in reconstructed.stdout
    assert "(from 40 notes)" in reconstructed.stdout
    assert "note F1 at 50 ms" in reconstructed.stdout
    assert "text.mid: refused (not a MIDI file (no MThd header))" in reconstructed.stdout
    for path in output.rglob("*.mid"):
        read_score(path)
    assert all(path.read_bytes().startswith(PNG) for path in output.rglob("*.png"))


def test_no_reconstruction_overwrites_another(reconstructed: subprocess.CompletedProcess[str], output: pathlib.Path):
    originals = [read_score(path) for path in output.rglob("*.original.mid")]
    assert [n for n in range(len(MEMBERS)) if tune(n) not in originals] == []
    assert len(list(output.rglob("*.reconstruction.mid"))) == len(MEMBERS)
    assert len(list(output.rglob("*.png"))) == len(MEMBERS)


def test_nothing_is_written_outside_the_output(reconstructed: subprocess.CompletedProcess[str], output: pathlib.Path):
    outside = output.parents[1]
    written = [path for path in outside.rglob("*") if path.is_file() and output not in path.parents]
    assert [path.name for path in written] == ["songs.zip"]


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A piece, one shorter than a window with a name in markup, one of drums only, and a silent one."""
    folder = tmp_path_factory.mktemp("songs")
    short = make_score(480, make_notes([0, 480], [480, 480], [60, 64]), track_names=["$<img> x"])
    drums = make_score(480, make_notes(np.arange(8) * 480, 100, 38, channel=9))
    silence = make_score(480, make_notes([], [], []))
    pieces = {"long": synthetic.make_score(9, 0), "short": short, "drums": drums, "silence": silence}
    for name, score in pieces.items():
        (folder / f"{name}.mid").write_bytes(midi.write_midi(score))
    return folder


def test_saved_latents_decode_to_the_same_music(small_run: pathlib.Path, songs: pathlib.Path, tmp_path: pathlib.Path):
    options = (f"--workdir={small_run}", f"--output={tmp_path}")
    done = call("reconstruct", *options, f"--input={songs}", "--save_latents", "--wav")
    assert_success(done)
    assert "silence.mid: refused (the file holds no note)" in done.stdout
    for name in ("long", "short", "drums"):
        midi.read_midi((tmp_path / f"{name}.reconstruction.mid").read_bytes())
        assert (tmp_path / f"{name}.png").read_bytes().startswith(PNG)
    original, made = (read_score(tmp_path / f"long.{kind}.mid") for kind in ("original", "reconstruction"))
    assert (made.tempos, made.meters) == (original.tempos, original.meters)
    assert abs(made.duration_sec - original.duration_sec) < 10
    assert_success(call("reconstruct", *options, f"--input={tmp_path / 'long.latents.npz'}", "--wav"))
    assert read_score(tmp_path / "long.decoded.mid") == made
    midi_files, audio_files = ({path.stem for path in tmp_path.glob(f"*.{suffix}")} for suffix in ("mid", "wav"))
    assert audio_files == midi_files and len(midi_files) == 2 * 3 + 1
    assert (tmp_path / "long.decoded.wav").read_bytes() == (tmp_path / "long.reconstruction.wav").read_bytes()


def test_drums_alone_are_scored_as_drums(small_run: pathlib.Path, songs: pathlib.Path, tmp_path: pathlib.Path):
    done = call("reconstruct", f"--workdir={small_run}", f"--output={tmp_path}", f"--input={songs / 'drums.mid'}")
    assert_success(done)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("drums: "))
    assert "reconstructed, drum F1 at 50 ms " in line and "note F1" not in line


def test_outputs_are_never_input(smoke_run: pathlib.Path, tmp_path: pathlib.Path):
    (tmp_path / "tune.mid").write_bytes(tune_bytes(0))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "tune.mid").write_bytes(tune_bytes(1))
    options = [f"--workdir={smoke_run}", f"--input={tmp_path}"]
    for folder in ("out", "again"):
        done = call("reconstruct", *options, f"--output={tmp_path / folder}")
        assert_success(done)
        assert "2 reconstructed" in done.stdout
    for folder in (tmp_path, tmp_path / "more"):
        assert_one_error(call("reconstruct", *options, f"--output={folder}"), "files of --input lie there")
    assert len(list((tmp_path / "more").iterdir())) == 1


def test_other_latents_are_refused(small_run: pathlib.Path, smoke_run: pathlib.Path, tmp_path: pathlib.Path):
    """Those of another run and a text; tests/models/test_latent_io.py has the rest."""
    (tmp_path / "tune.mid").write_bytes(tune_bytes(0))
    options = (f"--input={tmp_path / 'tune.mid'}", f"--output={tmp_path}", "--save_latents")
    assert_success(call("reconstruct", f"--workdir={smoke_run}", *options))
    (tmp_path / "text.npz").write_text("Dear diary,")
    for name, part in (("tune.latents.npz", "another run"), ("text.npz", "damaged")):
        done = call(
            "reconstruct", f"--workdir={small_run}", f"--input={tmp_path / name}", f"--output={tmp_path / 'out'}"
        )
        assert_one_error(done, name, part)
    assert not (tmp_path / "out").exists()


def test_a_text_file_is_refused(smoke_run: pathlib.Path, tmp_path: pathlib.Path):
    (tmp_path / "text.mid").write_text("Dear diary,")
    options = (f"--workdir={smoke_run}", f"--input={tmp_path / 'text.mid'}", f"--output={tmp_path / 'out'}")
    assert_one_error(call("reconstruct", *options), "text.mid", "not a MIDI file")
    assert not (tmp_path / "out").exists()


def test_a_mistake_is_one_line_of_the_process():
    assert_one_error(run("-m", "vae_jax.reconstruct", "--workdir=x", "--output=x"), "--input is missing")
