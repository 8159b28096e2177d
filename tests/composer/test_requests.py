"""Pieces of the composer of a small run as requested: length, meter, key, prompts and variations."""

from __future__ import annotations

import dataclasses
import shutil

import flax.traverse_util
import jax
import numpy as np
import pytest

from vae_jax.composer import attributes, conditioning, generate, requests, stage
from vae_jax.composer.attributes import Directions
from vae_jax.composer.generate import Composition
from vae_jax.composer.requests import Request
from vae_jax.composer.stage import TrainedComposer
from vae_jax.data import synthetic
from vae_jax.data.corpus import Piece
from vae_jax.data.shards import corpus_view
from vae_jax.music import key as key_lib
from vae_jax.music import midi
from vae_jax.music.score import KeySignature, Meter, Score, Tempo, make_notes, make_score
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.config import STEP
from vae_jax.runtime.errors import UserError
from vae_jax.training.experiment import build_experiment, load_experiment

TICKS_PER_BEAT = 480
TINY_BARS = 3  # Of 4/4: a phrase and a half.


@pytest.fixture(scope="module")
def loaded(small_run) -> TrainedComposer:
    return stage.load_composer(load_experiment(str(small_run)))


@pytest.fixture(scope="module")
def composer(loaded) -> TrainedComposer:
    """As loaded, but less likely to end a window: hardly trained, it would generate few notes."""
    end = ("params", "step_head", "Dense_0", "bias")
    flat = flax.traverse_util.flatten_dict(loaded.variables)
    flat[end] = flat[end].at[-1].add(-8.0)
    return dataclasses.replace(loaded, variables=flax.traverse_util.unflatten_dict(flat))


@pytest.fixture(scope="module")
def original() -> Piece:
    score = synthetic.make_score(9, 0)
    return Piece("original.mid", "original", midi.read_midi(midi.write_midi(score)).score)


def request(composer: TrainedComposer, meter=(4, 4), bars=TINY_BARS, key=None, seed=0) -> Request:
    return requests.sample_request(composer, np.random.default_rng(seed), num_bars=bars, meter=meter, key=key)


def compose(composer: TrainedComposer, *requested: Request, seed=0, temperature=1.0) -> list[Composition]:
    return generate.generate_pieces(composer, requested, jax.random.key(seed), temperature)


def same(one: Composition, other: Composition) -> bool:
    return one.score == other.score and np.array_equal(one.latents, other.latents)


def in_the_first_bars(score: Score, ticks: int) -> set[tuple[int, int, bool]]:
    """Onsets, pitches and whether they are drums."""
    notes = score.notes
    rows = zip(notes.onset_ticks.tolist(), notes.pitch.tolist(), notes.is_drum.tolist(), strict=True)
    return {row for row in rows if row[0] < ticks}


def test_a_loaded_composer_generates_what_the_trained_one_does(small_run, loaded, tmp_path):
    """Training goes on from its last step: there is nothing left to do but return."""
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    again = load_experiment(str(folder))
    config = again.experiment.raw
    source, split = corpus_view.find_split(config["data"], config["representation"])
    trained = stage.train_composer(
        again.experiment, loaded.inference.inference, again.variables, source, split, again.folder
    )
    np.testing.assert_array_equal(trained.drum_pitches, loaded.drum_pitches)
    assert trained.piece_conditions == loaded.piece_conditions
    jax.tree.map(np.testing.assert_array_equal, trained.variables, loaded.variables)
    one, other = (compose(each, request(each), request(each, seed=1), temperature=4.0) for each in (trained, loaded))
    assert all(map(same, one, other)) and any(len(piece.score.notes) for piece in one)


@pytest.mark.parametrize(
    ("meter", "bars", "key", "signature"),
    [
        ((4, 4), 3, "G", KeySignature(0, 1, False)),
        ((3, 4), 5, "Am", KeySignature(0, 0, True)),
        ((6, 8), 4, "Bb", KeySignature(0, -2, False)),
        ((5, 4), 2, "F#m", KeySignature(0, 3, True)),
    ],
)
def test_pieces_are_what_was_requested(composer, meter, bars, key, signature):
    requested = [request(composer, meter, bars, key_lib.parse_key(key), seed) for seed in range(2)]
    bar = 4 * TICKS_PER_BEAT * meter[0] // meter[1]
    ends = []
    for piece in compose(composer, *requested, temperature=2.0):
        read = midi.read_midi(midi.write_midi(piece.score))
        assert not read.warnings
        assert piece.roll.num_steps == bars * bar * 12 // TICKS_PER_BEAT
        assert piece.roll.bars.tolist() == [n * bar * 12 // TICKS_PER_BEAT for n in range(bars + 1)]
        assert read.score.meters == (Meter(0, *meter),)
        assert read.score.keys == (signature,)
        assert read.score.ticks_per_beat == TICKS_PER_BEAT
        ends.append(read.score.end_tick)
        assert piece.latents.shape == (-(-piece.roll.num_steps // 96), composer.inference.latent_dim)
    assert (bars - 1) * bar < max(ends) <= bars * bar


def test_pieces_of_many_kinds_are_generated_in_one_batch(composer):
    """Each is complete, neither shorter nor longer for the others."""
    requested = [request(composer, (4, 4), 1), request(composer, (3, 4), 6), request(composer, (4, 4), 4)]
    ends = [piece.score.end_tick / TICKS_PER_BEAT for piece in compose(composer, *requested, temperature=2.0)]
    assert all(most - 6 < end <= most for end, most in zip(ends, (4, 18, 16), strict=True))
    assert min(ends[1:]) > 0


def test_the_same_seed_gives_the_same_piece(composer):
    one, again, other = (compose(composer, request(composer), seed=seed)[0] for seed in (3, 3, 4))
    assert same(one, again)
    assert one.score != other.score
    pieces = [compose(composer, *(request(composer, seed=n) for n in (0, 1))) for _ in range(2)]
    assert all(map(same, *pieces))
    assert pieces[0][0].score != pieces[0][1].score


def test_instruments_and_tempo_are_those_of_a_training_piece(composer):
    requested = requests.sample_request(composer, np.random.default_rng(0), num_bars=TINY_BARS)
    conditions = requested.conditions
    assert any(dataclasses.replace(one, num_bars=TINY_BARS) == conditions for one in composer.piece_conditions)
    (piece,) = compose(composer, requested, temperature=2.0)
    played = piece.roll.parts_present
    assert np.any(played) and not np.any(played & ~(np.array(conditions.style.shares) > 0))
    (tempo,) = piece.score.tempos
    assert 60e6 / tempo.microseconds_per_beat == pytest.approx(conditions.beats_per_minute, abs=0.01)


def test_a_prompt_is_kept_to_the_note(composer, original):
    requested = requests.continuation_request(composer, original, 2, 5, np.random.default_rng(0))
    (piece,) = compose(composer, requested, temperature=2.0)
    rolled = encoding.encode(original.score, composer.stage.representation)
    bar = requested.bar_steps
    first = int(rolled.bars[1]) if rolled.bars[1] - rolled.bars[0] < bar else int(rolled.bars[0])
    kept = rolled.notes[(rolled.notes[:, STEP] >= first) & (rolled.notes[:, STEP] < first + 2 * bar), :3]
    mine = piece.roll.notes[piece.roll.notes[:, STEP] < 2 * bar, :3]
    assert len(kept) > 4
    np.testing.assert_array_equal(mine, kept - [first, 0, 0])
    assert np.any(piece.roll.notes[:, STEP] >= 2 * bar)
    assert piece.roll.num_steps == 5 * bar
    # And they sound where they did: the key is the prompt's own.
    ticks = bar * 40
    start = first * original.score.ticks_per_beat // 12
    sounding = {
        (round((tick - start) * TICKS_PER_BEAT / original.score.ticks_per_beat / 40) * 40, pitch, drum)
        for tick, pitch, drum in in_the_first_bars(original.score, 10**9)
    }
    pitches = {(tick, pitch, drum) for tick, pitch, drum in in_the_first_bars(piece.score, ticks) if not drum}
    assert len(pitches & sounding) > 0.8 * len(pitches) > 0


def test_a_prompt_whose_last_note_is_held_ends_with_the_piece(composer):
    """Its last note lasts eight bars; the piece has three."""
    notes = make_notes([0, 1920, 2400], [480, 480, 8 * 1920], [60, 64, 67], program=56)
    held = Piece("held.mid", "held", make_score(480, notes))
    (piece,) = compose(composer, requests.continuation_request(composer, held, 2, 3, np.random.default_rng(0)))
    assert piece.score.end_tick <= 3 * 4 * TICKS_PER_BEAT


def test_a_variation_is_as_long_as_its_original(composer, original):
    near, far = (requests.variation_request(composer, original, amount) for amount in (0.0, 1.0))
    assert np.all(near.form.similarity == 1) and np.all(far.form.similarity == 0)
    pieces = compose(composer, near, far)
    rolled = encoding.encode(original.score, composer.stage.representation)
    bar = near.bar_steps
    for piece in pieces:
        assert 0 <= piece.roll.num_steps - (rolled.num_steps - int(rolled.bars[0])) < bar or rolled.bars[0] == 0
        assert piece.score.meters == (Meter(0, *near.conditions.meter),)
    assert pieces[0].score != pieces[1].score
    expected = conditioning.read_conditions(original.score, rolled)
    assert near.conditions == dataclasses.replace(expected, num_bars=near.conditions.num_bars)


def test_unsuitable_prompts_are_refused(composer, original):
    rng = np.random.default_rng(0)
    one_bar = Piece("short.mid", "short", make_score(480, make_notes([0, 480], 480, [60, 62])))
    with pytest.raises(UserError, match=r"short\.mid has only 1 full bars"):
        requests.continuation_request(composer, one_bar, 2, 8, rng)
    with pytest.raises(UserError, match="leaves nothing to compose"):
        requests.continuation_request(composer, original, 4, 4, rng)
    silent = Piece("silent.mid", "silent", make_score(480, make_notes([], [], [])))
    for refuse in (
        lambda: requests.continuation_request(composer, silent, 1, 8, rng),
        lambda: requests.variation_request(composer, silent, 0.5),
    ):
        with pytest.raises(UserError, match="no notes"):
            refuse()
    meters = [Meter(0, 4, 4), Meter(1920, 3, 4)]
    changing = make_score(480, make_notes(np.arange(40) * 480, 480, 60), meters=meters)
    with pytest.raises(UserError, match="changes meter"):
        requests.continuation_request(composer, Piece("x.mid", "x", changing), 2, 8, rng)
    long_bars = make_score(480, make_notes(np.arange(40) * 480, 480, 60), meters=[Meter(0, 9, 4)])
    with pytest.raises(UserError, match="9/4"):
        requests.variation_request(composer, Piece("x.mid", "x", long_bars), 0.5)


@pytest.mark.parametrize("beats_per_minute", [30, 100, 240])
def test_the_tempo_of_a_prompt_is_kept(composer, original, beats_per_minute):
    tempos = [Tempo(0, round(60e6 / beats_per_minute)), Tempo(12 * original.score.ticks_per_beat, 600_000)]
    piece = dataclasses.replace(original, score=dataclasses.replace(original.score, tempos=tempos))
    requested = requests.continuation_request(composer, piece, 2, 3, np.random.default_rng(0))
    assert requested.conditions.beats_per_minute == pytest.approx(beats_per_minute, abs=0.05)
    steady = dataclasses.replace(piece, score=dataclasses.replace(piece.score, tempos=tempos[:1]))
    varied = requests.variation_request(composer, steady, 0.5)
    assert varied.conditions.beats_per_minute == pytest.approx(beats_per_minute, abs=0.05)


def test_bars_that_are_not_on_the_grid_and_pieces_too_long_to_vary(composer):
    meters = [Meter(0, 3, 32)]
    steady = Piece("x.mid", "x", make_score(480, make_notes(np.arange(90) * 60, 60, 60), meters=meters))
    with pytest.raises(UserError, match="bars of 3/32 are too long or not on the grid"):
        requests.continuation_request(composer, steady, 2, 8, np.random.default_rng(0))
    long = Piece("x.mid", "x", make_score(480, make_notes(np.arange(4004) * 480, 480, 60)))
    with pytest.raises(UserError, match=r"1,001 bars; a piece of 1,000 at most"):
        requests.variation_request(composer, long, 0.5)


def test_a_config_that_cannot_have_a_composer(small_run):
    config = dict(load_experiment(str(small_run)).experiment.raw)
    changed = build_experiment(config | {"representation": config["representation"] | {"normalize_tonic": False}})
    with pytest.raises(UserError, match=r"needs config\.representation\.normalize_tonic=true"):
        stage.build_stage(changed)


@pytest.mark.parametrize(("text", "meter"), [("4/4", (4, 4)), ("6/8", (6, 8)), ("8/4", (8, 4)), ("1/16", (1, 16))])
def test_meters_that_fit(composer, text, meter):
    assert requests.parse_meter(text, composer) == meter


@pytest.mark.parametrize(
    "text",
    ["", "4", "4/", "/4", "7/3", "4/4/4", "0/4", "-3/4", "9/4", "4/0", "3.5/4", "٣/4", "4 /4", "4/32", "9" * 5000],
)
def test_meters_that_do_not_fit_are_refused(composer, text):
    for written in (text, text + "/4") if len(text) > 100 else (text,):
        with pytest.raises(UserError, match="--meter"):
            requests.parse_meter(written, composer)


def test_moved_attributes_change_the_latents_and_nothing_else(composer):
    """With a made-up direction, in C, the piece is what the first stage decodes of latents moved by hand."""
    (piece,) = compose(composer, request(composer, bars=4, key=key_lib.parse_key("C")))
    direction = np.random.default_rng(0).normal(size=(1, composer.inference.latent_dim))
    directions = Directions(("density",), direction, np.ones((1, 1)), np.ones(1), np.ones(1))
    for amount in (0.0, 1.5):
        moved = attributes.move_attributes(composer, piece, directions, {"density": amount})
        expected = composer.inference.decode_score(piece.latents + amount * direction, piece.roll.context)
        assert in_the_first_bars(moved, 10**6) == in_the_first_bars(expected, 10**6)
        assert (moved.meters, moved.keys, moved.tempos) == (piece.score.meters, piece.score.keys, piece.score.tempos)
        assert moved.end_tick <= 4 * 4 * TICKS_PER_BEAT
    assert len(moved.notes) > 10
