"""The synthetic corpus: the same everywhere, and tonal music by what can be counted in it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from vae_jax.data import deduplication, synthetic
from vae_jax.music import midi, theory
from vae_jax.music import score as score_lib
from vae_jax.music.score import Score

NUM_PIECES = 40


@pytest.fixture(scope="module")
def corpus() -> list[tuple[str, Score]]:
    return synthetic.make_corpus(NUM_PIECES, seed=0)


def track_of(score: Score, index: int, role: str) -> int | None:
    """The track with a role, where the piece has one."""
    roles = [role for _, _, role in synthetic.make_plan(0, index).ensemble]
    return roles.index(role) + 1 if role in roles else None


def phrase_notes(score: Score, index: int, number: int, track: int) -> list[tuple[int, int]]:
    """(step from the phrase's bar line, pitch) of a track in a phrase, without its pick-up."""
    plan = synthetic.make_plan(0, index)
    notes = score.notes.select(score.notes.track == track)
    steps = np.round(notes.onset_ticks * 4 / score.ticks_per_beat).astype(int) - plan.pickup
    length = 4 * plan.meter.bar_steps
    end = length - plan.pickup  # From there on the next phrase's pick-up.
    inside = (steps >= number * length) & (steps < number * length + end)
    return sorted(zip((steps[inside] - number * length).tolist(), notes.pitch[inside].tolist(), strict=True))


def test_a_piece_depends_on_seed_and_index_alone(corpus):
    again = [(synthetic.piece_name(0, n), synthetic.make_score(0, n)) for n in (7, 3)]
    assert again == [corpus[7], corpus[3]]
    written = {midi.write_midi(score) for _, score in corpus}
    assert len(written) == NUM_PIECES and midi.write_midi(synthetic.make_score(1, 0)) not in written


def test_the_corpus_is_pinned():
    """Fails where a machine makes other notes, or where an edit changes what users of a seed get."""
    digest = hashlib.sha256()
    for index in range(3):
        notes = synthetic.make_score(0, index).notes
        for name in score_lib.NOTE_COLUMNS:
            digest.update(getattr(notes, name).astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == "0e6d23ae0941995d"


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(seed: int, index: int):
    with pytest.raises(ValueError):
        synthetic.make_score(seed, index)


def test_names_and_files(corpus):
    for index, (name, score) in enumerate(corpus):
        key = theory.key_name(score.keys[0].fifths, score.keys[0].minor).replace(" ", "_")
        assert name == f"synthetic_{index:04d}_{key}.mid" == score.track_names[0] + ".mid"
        assert midi.read_midi(midi.write_midi(score)) == midi.Reading(score, ())


def test_sizes_and_ranges(corpus):
    for _, score in corpus:
        notes = score.notes
        assert 5 <= len(score.note_bearing_tracks()) == score.num_tracks - 1 <= 6
        assert 100 <= len(notes) <= 2000 and 10 <= score.duration_sec <= 180
        pitched = notes.select(~notes.is_drum)
        assert pitched.pitch.min() >= 28 and pitched.pitch.max() <= 90
        # No track starts a pitch that still sounds.
        order = np.lexsort((notes.onset_ticks, notes.track * 128 + notes.pitch))
        same = np.diff((notes.track * 128 + notes.pitch)[order]) == 0
        assert (notes.end_ticks[order][:-1][same] <= notes.onset_ticks[order][1:][same]).all()


def test_meters_keys_and_pickups_vary(corpus):
    scores = [score for _, score in corpus]
    assert {(s.meters[-1].numerator, s.meters[-1].denominator) for s in scores} == {(4, 4), (3, 4), (2, 4), (6, 8)}
    assert len({score.keys[0] for score in scores}) > 8
    assert len({score.tempos[0] for score in scores}) > 20
    assert 10 < sum(len(score.meters) == 2 for score in scores) < 30
    assert 10 < sum(score.notes.is_drum.any() for score in scores) < NUM_PIECES
    for score in scores:
        if len(score.meters) == 2:  # A pick-up: one bar, shorter than the others.
            short, full = score.meters
            assert full.tick * short.denominator == short.numerator * 4 * score.ticks_per_beat
            assert score.notes.onset_ticks[0] <= score.ticks_per_beat // 50


def test_pieces_end_on_the_tonic_triad_over_the_tonic(corpus):
    for _, score in corpus:
        key, notes = score.keys[0], score.notes.select(~score.notes.is_drum)
        last = notes.select(notes.end_ticks >= score.end_tick - score.ticks_per_beat)
        above_tonic = (last.pitch - theory.tonic_pitch_class(key.fifths, key.minor)) % 12
        assert len(last) >= 3
        assert set(above_tonic) <= set(theory.MINOR_TRIAD if key.minor else theory.MAJOR_TRIAD)
        assert above_tonic[last.pitch.argmin()] == 0
        assert score.tempos[-1].microseconds_per_beat > 1.3 * score.tempos[0].microseconds_per_beat


def test_pitches_are_those_of_the_key(corpus):
    for _, score in corpus:
        key, pitches = score.keys[0], score.notes.pitch[~score.notes.is_drum]
        above_tonic = set((pitches - theory.tonic_pitch_class(key.fifths, key.minor)) % 12)
        minor = {*theory.NATURAL_MINOR_SCALE, *theory.HARMONIC_MINOR_SCALE}
        assert above_tonic <= (minor if key.minor else set(theory.MAJOR_SCALE))


def test_phrases_of_one_name_are_equal_and_a_varied_return_adds_notes(corpus):
    num_equal = num_added = 0
    for index, (_, score) in enumerate(corpus):
        form = synthetic.make_plan(0, index).form
        for number, name in enumerate(form):
            first = form.index(name.removesuffix("*")) if name.removesuffix("*") in form else number
            for track in score.note_bearing_tracks():
                before, now = (phrase_notes(score, index, n, track) for n in (first, number))
                if name.endswith("*") and track in (track_of(score, index, "melody"), track_of(score, index, "second")):
                    assert {step for step, _ in before} <= {step for step, _ in now}
                    num_added += len(now) - len(before)
                else:
                    assert before == now
                    num_equal += first != number
    assert num_equal > 100 and num_added > 20


def test_accented_notes_of_the_melody_belong_to_the_chord_under_them(corpus):
    for index, (_, score) in enumerate(corpus):
        melody = phrase_notes(score, index, 0, track_of(score, index, "melody"))
        bar = synthetic.make_plan(0, index).meter.bar_steps
        chords = next((t for t in (track_of(score, index, role) for role in ("pad", "chords")) if t), None)
        if chords is not None:
            for n in range(4):
                harmony = {pitch % 12 for step, pitch in phrase_notes(score, index, 0, chords) if step == n * bar}
                assert len(harmony) == 3
                assert {pitch % 12 for step, pitch in melody if step == n * bar} <= harmony


@pytest.mark.parametrize("seed", [0, 1])
def test_pieces_of_a_corpus_are_different_tunes(seed: int):
    shingles = [deduplication.pack_shingles(score) for _, score in synthetic.make_corpus(135, seed)]
    assert len(set(deduplication.group_tunes(shingles, [str(n) for n in range(135)]))) >= 133
