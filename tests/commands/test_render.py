"""vae_jax.render: a WAV file of any score that is read, and one line for what is none."""

from __future__ import annotations

import pathlib
import wave

import pytest
from builders import tune, tune_bytes
from command_line import assert_one_error, assert_success, call, run

from vae_jax.music import audio, midi
from vae_jax.music.score import make_notes, make_score

TUNE = "X:1\nT:Tune\nM:4/4\nL:1/4\nQ:1/4=60\nK:C\nCDEF|GABc|\n"  # Eight seconds.


def seconds(path: pathlib.Path) -> float:
    with wave.open(str(path)) as file:
        assert any(file.readframes(file.getnframes()))
        return file.getnframes() / file.getframerate()


def test_the_audio_stands_beside_the_score(tmp_path: pathlib.Path):
    (tmp_path / "tune.mid").write_bytes(tune_bytes(0))
    done = run("-m", "vae_jax.render", tmp_path / "tune.mid")
    assert_success(done)
    assert done.stdout == f"20.0 s of music in {tmp_path / 'tune.wav'}\n"
    assert seconds(tmp_path / "tune.wav") == pytest.approx(tune(0).duration_sec + audio.TAIL_SEC)


def test_another_place_and_other_readers(tmp_path: pathlib.Path):
    (tmp_path / "cut.mid").write_bytes(tune_bytes(0)[:-20])  # Within its last note.
    (tmp_path / "tune.abc").write_text(TUNE)
    for name, expected in (("cut.mid", 20), ("tune.abc", 8)):
        assert_success(call("render", tmp_path / name, f"--output={tmp_path / 'new' / 'a.wav'}"))
        assert seconds(tmp_path / "new" / "a.wav") == pytest.approx(expected + audio.TAIL_SEC, abs=1)


def test_a_mistake_is_one_line_and_writes_nothing(tmp_path: pathlib.Path):
    long = make_score(480, make_notes([0, 480 * 90_000], 480, 60))
    contents = {"text.mid": b"Dear diary,", "silent.mid": midi.write_midi(make_score(480, make_notes([], [], [])))}
    contents |= {"long.mid": midi.write_midi(long)}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    cases = [
        ([tmp_path / "text.mid"], "not a MIDI file"),
        ([tmp_path / "silent.mid"], "the file holds no note"),
        ([tmp_path / "long.mid"], "long.mid: lasts 750 minutes; at most 30 are rendered"),
        ([tmp_path / "nowhere.mid"], "no such file"),
        ([tmp_path], "a corpus of 3 files; give one"),
        ([], "give one score"),
        ([tmp_path / "text.mid", tmp_path / "long.mid"], "give one score"),
    ]
    for arguments, message in cases:
        assert_one_error(call("render", *arguments), message)
    assert {path.name for path in tmp_path.iterdir()} == contents.keys()
