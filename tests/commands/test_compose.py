"""vae_jax.compose: the same seed gives the same bytes; what it refuses."""

from __future__ import annotations

import json
import pathlib
import shutil
import wave
from unittest import mock

import pytest
from beat_scores import score_of
from command_line import assert_one_error, assert_success, call, run

from vae_jax.data import synthetic
from vae_jax.music import audio, midi
from vae_jax.music.score import KeySignature, make_notes, make_score
from vae_jax.runtime.files import OUTPUT_MARK

TICKS_PER_BEAT = 480


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("prompts")
    (folder / "original.mid").write_bytes(midi.write_midi(synthetic.make_score(9, 0)))
    (folder / "short.mid").write_bytes(midi.write_midi(make_score(480, make_notes([0, 480], 480, [60, 62]))))
    (folder / "silent.mid").write_bytes(midi.write_midi(make_score(480, make_notes([], [], []))))
    (folder / "drums.mid").write_bytes(midi.write_midi(score_of((0, 1, 38), (1, 1, 42), channel=9)))
    (folder / "text.mid").write_text("no MIDI")
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--attribute=loudness:+1"], "one of density"),
        (["--attribute=density"], "NAME:AMOUNT"),
        (["--attribute=density:many"], "must be a number"),
        (["--prompt={files}/original.mid", "--vary={files}/original.mid"], "exclude each other"),
        (["--prompt={files}/original.mid", "--meter=3/4"], "--meter is the piece's own"),
        (["--vary={files}/original.mid", "--key=G"], "--key is the piece's own"),
        (["--prompt={files}/short.mid"], "has only 1 full bar;"),
        (["--prompt={files}/original.mid", "--bars=4"], "leaves nothing to compose"),
        (["--prompt={files}/silent.mid"], "silent.mid"),
        (["--style_of={files}/silent.mid"], "the file holds no note"),
        (["--vary={files}/drums.mid"], "holds no pitched notes"),
        (["--style_of={files}/original.mid", "--prompt={files}/original.mid"], "exclude each other"),
        (["--tempo=5"], "--tempo must be from 10 to 400"),
        (["--tempo=nan"], "--tempo"),
        (["--vary={files}/text.mid"], "text.mid"),
        (["--vary={files}"], "a corpus of 5 files; give one"),
        (["--prompt={files}"], "a corpus of 5 files; give one"),
        (["--prompt={files}/nowhere.mid"], "no such file"),
        (["--meter=7/3"], "--meter"),
        (["--meter=4/4/4"], "--meter"),
        (["--meter=9/4"], "a bar must"),
        (["--key=H"], "not a key"),
        (["--chords=C H"], "--chords"),
        (["--chords=C", "--vary={files}/original.mid"], "--chords and --vary exclude each other"),
        (["--temperature=-1"], "--temperature"),
        (["--temperature=nan"], "--temperature"),
        (["--temperature=inf"], "--temperature"),
        (["--bars=0"], "--bars"),
        (["--bars=many"], "--bars must be a number"),
        (["--bars=3-4"], "--bars=3-4 is for --infill"),
        (["--infill={files}/original.mid"], "--infill requires --bars"),
        (["--infill={files}/original.mid", "--bars=4-2"], "--bars must be"),
        (["--infill={files}/original.mid", "--bars=900-901"], "full bars; --bars=900-901"),
        (["--infill={files}/drums.mid", "--bars=1"], "holds no pitched notes"),
        (["--infill={files}/original.mid", "--bars=1", "--style_of={files}/original.mid"], "exclude each other"),
        (["--harmonise={files}/silent.mid"], "silent.mid"),
        (["--harmonise={files}/original.mid", "--vary={files}/original.mid"], "exclude each other"),
        (["--harmonise={files}/original.mid", "--meter=3/4"], "--meter is the piece's own"),
        (["--orchestrate={files}/drums.mid"], "holds no pitched notes"),
        (["--num=0"], "--num"),
        (["--amount=2", "--vary={files}/original.mid"], "--amount"),
        (["--amount=nan", "--vary={files}/original.mid"], "--amount"),
        (["stray"], "unexpected argument"),
    ],
)
def test_a_mistake_ends_in_one_line_and_writes_nothing(small_run, files, arguments, message, tmp_path):
    given = [argument.format(files=files) for argument in arguments]
    assert_one_error(call("compose", f"--workdir={small_run}", f"--output={tmp_path / 'new'}", *given), message)
    assert not (tmp_path / "new").exists()


def test_runs_that_cannot_compose(small_run, tmp_path):
    untrained = tmp_path / "untrained"
    shutil.copytree(small_run, untrained, ignore=lambda path, names: ["checkpoints"] if "composer" in path else [])
    without = tmp_path / "without"
    shutil.copytree(small_run, without)
    config = json.loads((without / "config.json").read_text())
    del config["composer"]
    (without / "config.json").write_text(json.dumps(config))
    damaged = tmp_path / "damaged"
    shutil.copytree(small_run, damaged)
    (damaged / "composer" / "pieces.json").write_text('{"forms": {}, "conditions": []}')
    cases = [
        (tmp_path / "nowhere", "no run here"),
        (without, "no composer section"),
        (untrained, "has no checkpoint yet"),
        (damaged, "pieces.json: damaged"),
    ]
    for folder, message in cases:
        assert_one_error(call("compose", f"--workdir={folder}", f"--output={tmp_path / 'new'}"), message)
    assert not (tmp_path / "new").exists()


def test_compose_same_seed_same_bytes(small_run, tmp_path):
    """In this process and in one of its own; other seeds are tested in tests/composer/test_requests.py."""
    options = (f"--workdir={small_run}", "--num=2", "--bars=3", "--meter=3/4", "--key=Em")
    options += ("--tempo=90",)
    done = run("-m", "vae_jax.compose", *options, "--seed=1", f"--output={tmp_path / 'a'}")
    assert_success(done)
    assert done.stdout.startswith("2 pieces with ")
    assert_success(call("compose", *options, "--seed=1", f"--output={tmp_path / 'b'}"))
    names = [OUTPUT_MARK, "composition_000.mid", "composition_000.png", "composition_001.mid", "composition_001.png"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    a, b = ([(tmp_path / folder / name).read_bytes() for name in names[1::2]] for folder in "ab")
    assert a == b
    assert a[0] != a[1]
    for data in a:
        score = midi.read_midi(data).score
        assert score.meters[-1:][0].numerator == 3 and score.keys == (KeySignature(0, 1, True),)
        assert score.tempos[0].microseconds_per_beat == round(60e6 / 90)
        assert score.end_tick <= (3 * 3 + 3) * TICKS_PER_BEAT  # With a pick-up.


def test_compose_with_moved_attributes(small_run, tmp_path):
    options = [f"--workdir={small_run}", "--num=1", "--bars=2"]
    moved = ["--attribute=density:+2", "--attribute=register:-10"]
    for name, given in (("plain", []), ("moved", moved)):
        done = call("compose", *options, f"--output={tmp_path / name}", *given)
        assert_success(done)
        assert "1 piece with" in done.stdout
    plain, other = ((tmp_path / name / "composition_000.mid").read_bytes() for name in ("plain", "moved"))
    assert plain != other


@pytest.mark.parametrize(
    "given",
    [
        ["--bars=1"],
        ["--bars=2", "--meter=3/4"],
        ["--bars=2", "--meter=7/8"],
        ["--bars=2", "--chords=Am F,G"],
        ["--bars=1", "--style_of={files}/original.mid"],
        ["--vary={files}/short.mid"],
        ["--harmonise={files}/short.mid"],
        ["--harmonise={files}/short.mid", "--chords=C"],
        ["--orchestrate={files}/short.mid", "--style_of={files}/original.mid"],
        ["--infill={files}/short.mid", "--bars=1"],
    ],
)
def test_the_shortest_pieces_have_music(small_run, files, tmp_path, given):
    options = [f"--workdir={small_run}", "--num=2", *(one.format(files=files) for one in given)]
    assert_success(call("compose", *options, f"--output={tmp_path / 'new'}"))
    for path in (tmp_path / "new").glob("*.mid"):
        score = midi.load(path)
        assert (~score.notes.is_drum).any() and score.end_tick <= 3 * 4 * TICKS_PER_BEAT


def test_audio_beside_the_pieces(small_run, tmp_path):
    options = [f"--workdir={small_run}", "--num=2", "--bars=2"]
    assert_success(call("compose", *options, f"--output={tmp_path / 'new'}", "--wav"))
    for n in range(2):
        score = midi.load(tmp_path / "new" / f"composition_{n:03d}.mid")
        with wave.open(str(tmp_path / "new" / f"composition_{n:03d}.wav")) as file:
            duration = file.getnframes() / file.getframerate()
            assert duration == pytest.approx(score.duration_sec + audio.TAIL_SEC, abs=0.01)


def test_audio_that_is_too_long_is_left_out_with_a_warning(small_run, tmp_path):
    options = [f"--workdir={small_run}", "--num=1", "--bars=2", "--tempo=10", "--wav"]
    with mock.patch.object(audio, "MAX_MINUTES", 0.1):
        done = call("compose", *options, f"--output={tmp_path / 'new'}")
    assert_success(done)
    assert done.stderr.startswith("warning: ") and "composition_000.wav: not written (lasts " in done.stderr
    names = {OUTPUT_MARK, "composition_000.mid", "composition_000.png"}
    assert {path.name for path in (tmp_path / "new").iterdir()} == names


def test_a_mistake_is_one_line_of_the_process():
    assert_one_error(run("-m", "vae_jax.compose", "--output=x", "--bars=0"), "--bars")
