"""The built-in corpus: the same everywhere, and music by what can be measured of it."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest

from vae_jax.data import builtin
from vae_jax.data.builtin import harmony, plan, tune
from vae_jax.music import midi
from vae_jax.music import score as score_lib
from vae_jax.music.score import Score

NUM_PIECES = 40
SCALES = {False: (0, 2, 4, 5, 7, 9, 11), True: (0, 2, 3, 5, 7, 8, 10, 11)}  # Natural and harmonic minor together.
TRIADS = {False: (0, 4, 7), True: (0, 3, 7)}


@pytest.fixture(scope="module")
def corpus() -> list[tuple[str, Score]]:
    return builtin.compose_corpus(NUM_PIECES, seed=0)


def tonic(score: Score) -> int:
    key = score.keys[0]
    return (key.fifths * 7 + (9 if key.minor else 0)) % 12


def pitched(score: Score) -> score_lib.Notes:
    return score.notes.select(~score.notes.is_drum)


def first_bar_line(score: Score) -> int:
    """Tick of the first full bar's start."""
    return score.meters[1].tick if len(score.meters) > 1 else 0


def phrases(score: Score) -> list[np.ndarray]:
    """Onsets of each group of four bars on a grid of sixteenths by pitch class above the tonic, 0 or 1."""
    meter = score.meters[-1]
    sixteenth = score.ticks_per_beat // 4
    phrase_sixteenths = 4 * 16 * meter.numerator // meter.denominator
    notes = pitched(score)
    # Players are ahead of the beat or behind it by less than half a sixteenth.
    grid = (notes.onset_ticks - first_bar_line(score) + sixteenth // 2) // sixteenth
    roll = np.zeros((grid.max() + phrase_sixteenths, 12))
    roll[grid[grid >= 0], (notes.pitch[grid >= 0] - tonic(score)) % 12] = 1
    return [part for part in np.split(roll, range(0, len(roll), phrase_sixteenths))[1:-1] if part.any()]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def test_same_seed_gives_same_bytes_whatever_was_composed_before():
    late = midi.write_midi(builtin.compose_piece(3, 5))
    names_and_bytes = [(name, midi.write_midi(score)) for name, score in builtin.compose_corpus(6, seed=3)]
    assert names_and_bytes[5] == (builtin.piece_name(3, 5), late)
    assert names_and_bytes[:2] == [(n, midi.write_midi(s)) for n, s in builtin.compose_corpus(2, seed=3)]


def test_other_seeds_and_indices_give_other_pieces(corpus):
    written = {midi.write_midi(score) for _, score in corpus}
    assert len(written) == NUM_PIECES
    assert midi.write_midi(builtin.compose_piece(1, 0)) not in written


def test_the_corpus_is_pinned():
    """Fails where a machine composes other notes, or where an edit changes what users of a seed get."""
    digest = hashlib.sha256()
    for index in range(3):
        notes = builtin.compose_piece(0, index).notes
        for name in score_lib.NOTE_COLUMNS:
            digest.update(getattr(notes, name).astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == "aa2b5daac06ecba4"


def test_negative_numbers_are_refused():
    for seed, index in [(-1, 0), (0, -1)]:
        with pytest.raises(ValueError):
            builtin.compose_piece(seed, index)


def test_names_are_unique_and_tell_the_key(corpus):
    names = [name for name, _ in corpus]
    assert len(set(names)) == NUM_PIECES
    for name, score in corpus:
        assert name.endswith(f"_{'minor' if score.keys[0].minor else 'major'}.mid")
        assert name.isascii() and "/" not in name


def test_written_files_read_back_whole_and_without_a_warning(corpus):
    for _, score in corpus:
        assert midi.read_midi(midi.write_midi(score)) == midi.Reading(score, ())


def test_pieces_have_the_size_of_anthems(corpus):
    for _, score in corpus:
        assert 5 <= len(score.note_bearing_tracks()) == score.num_tracks - 1 <= 9
        assert 300 <= len(score.notes) <= 3000
        assert 20 <= score.duration_sec <= 240
    assert 700 <= np.mean([len(score.notes) for _, score in corpus]) <= 1500


def test_pitches_velocities_and_lengths(corpus):
    for _, score in corpus:
        notes = pitched(score)
        assert notes.pitch.min() >= 21 and notes.pitch.max() <= 108
        assert notes.velocity.std() > 4
        # No part strikes a pitch that it still holds.
        voice = (notes.track * 128 + notes.pitch) * 10**7
        order = np.argsort(voice + notes.onset_ticks)
        same = np.diff(voice[order]) == 0
        assert (notes.end_ticks[order][:-1][same] <= notes.onset_ticks[order][1:][same]).all()


def test_drums_are_on_their_channel_in_most_pieces(corpus):
    with_drums = [score for _, score in corpus if score.notes.is_drum.any()]
    assert len(with_drums) > NUM_PIECES // 2
    for score in with_drums:
        drum_tracks = np.unique(score.notes.track[score.notes.is_drum])
        assert not np.isin(pitched(score).track, drum_tracks).any()
        assert set(score.notes.pitch[score.notes.is_drum]) <= set(range(35, 60))


def test_meters_keys_and_pickups_vary(corpus):
    meters = {(score.meters[-1].numerator, score.meters[-1].denominator) for _, score in corpus}
    assert meters >= {(4, 4), (3, 4), (2, 4)}
    assert {len(score.meters) for _, score in corpus} == {1, 2}
    assert len({score.keys[0] for _, score in corpus}) >= 6
    assert {score.ticks_per_beat for _, score in corpus} == {480, 192, 384}
    for _, score in corpus:
        if len(score.meters) == 2:
            short = score.meters[0]
            assert score.meters[1].tick * short.denominator == short.numerator * 4 * score.ticks_per_beat


def test_notes_keep_to_the_key(corpus):
    for _, score in corpus:
        above_tonic = (pitched(score).pitch - tonic(score)) % 12
        assert np.isin(above_tonic, SCALES[score.keys[0].minor]).mean() >= 0.85


def test_pieces_end_on_the_tonic_slower_than_they_began(corpus):
    for _, score in corpus:
        notes = pitched(score)
        last = notes.select(notes.end_ticks > score.end_tick - score.ticks_per_beat // 2)
        above_tonic = (last.pitch - tonic(score)) % 12
        assert len(last) >= 3
        assert set(above_tonic) <= set(TRIADS[score.keys[0].minor])
        assert above_tonic[last.pitch.argmin()] == 0
        assert score.tempos[-1].microseconds_per_beat > 1.3 * score.tempos[0].microseconds_per_beat


def test_phrases_return(corpus):
    own, others = [], []
    pieces = [phrases(score) for _, score in corpus]
    for n, parts in enumerate(pieces):
        # A phrase of another piece in the same metre is as long.
        strangers = [found for m, found in enumerate(pieces) if m != n and found[0].shape == parts[0].shape]
        for k, part in enumerate(parts):
            own.append(max(cosine(part, parts[j]) for j in range(len(parts)) if j != k))
            others.append(np.mean([max(cosine(part, other) for other in found) for found in strangers] or [0.0]))
    assert np.mean(own) > np.mean(others) + 0.25
    assert np.mean(np.array(own) > np.array(others)) > 0.9


def test_strong_beats_are_consonant(corpus):
    """A semitone between two parts on the first beat of a bar is rare; unrelated notes of a scale make one often."""
    clashes = bars = 0
    for _, score in corpus:
        notes, meter = pitched(score), score.meters[-1]
        bar = 4 * score.ticks_per_beat * meter.numerator // meter.denominator
        offset = score.ticks_per_beat // 12  # The most that a player is ahead of or behind the beat.
        for bar_line in range(first_bar_line(score), score.end_tick, bar):
            starting = np.abs(notes.onset_ticks - bar_line) <= 2 * offset
            sounding = {int(pitch) % 12 for pitch in notes.pitch[starting]}
            clashes += any((a - b) % 12 in (1, 11) for a, b in itertools.combinations(sounding, 2))
            bars += 1
    assert clashes / bars < 0.04


@pytest.mark.parametrize("index", range(12))
def test_tunes_are_singable(index):
    rng = np.random.default_rng(index)
    drawn = plan.draw_plan(rng)
    motifs = tune.draw_motifs(rng, drawn)
    for name, cadence in (("A.", (0,)), ("B-", (2, 7, 11))):
        phrase = tune.compose_phrase(rng, drawn, name, motifs, None)
        pitches = [event.pitch for event in phrase.melody]
        assert max(pitches) - min(pitches) <= 17
        assert max(abs(a - b) for a, b in itertools.pairwise(pitches)) <= 12
        assert (pitches[-1] - drawn.tonic) % 12 in cadence
        for event in phrase.melody:
            if event.start >= 0 and drawn.metre.accent(event.start) == 2:
                chord = phrase.spans[phrase.span_index(event.start)].chord
                assert (event.pitch - drawn.tonic) % 12 in chord.pitch_classes
        starts = [
            -drawn.pickup_steps,
            *itertools.accumulate((e.steps for e in phrase.melody), initial=-drawn.pickup_steps),
        ]
        assert [event.start for event in phrase.melody] == starts[1:-1]


def test_an_answer_keeps_the_first_half():
    rng = np.random.default_rng(0)
    drawn = plan.draw_plan(rng)
    motifs = tune.draw_motifs(rng, drawn)
    question = tune.compose_phrase(rng, drawn, "A-", motifs, None)
    answer = tune.compose_phrase(rng, drawn, "A.", motifs, question)
    half = drawn.phrase_steps // 2
    first_halves = [[event for event in phrase.melody if event.start < half] for phrase in (question, answer)]
    assert first_halves[0] == first_halves[1]
    assert question.melody[-1].pitch % 12 != answer.melody[-1].pitch % 12 == drawn.tonic


def test_chords_colour_their_scale():
    assert harmony.chord("V7/V", False).scale == (0, 2, 4, 6, 7, 9, 11)
    assert harmony.chord("V7/IV", False).scale == (0, 2, 4, 5, 7, 9, 10)
    assert harmony.chord("V7", True).scale == (0, 2, 3, 5, 7, 8, 11)
    assert harmony.chord("V7/VI", True).scale == (0, 1, 3, 5, 7, 8, 10)
    assert harmony.chord("II^1", False).bass == 5


def test_degrees_and_pitches_are_inverse():
    chord = harmony.chord("V7/V", False)
    for pitch in range(50, 80):
        if (pitch - 3) % 12 in chord.scale:
            assert chord.scale_pitch(chord.degree(pitch, 3), 3) == pitch


def test_parallels():
    assert harmony.is_parallel(48, 50, 55, 57)  # C-G to D-A.
    assert harmony.is_parallel(48, 53, 60, 65)  # C-C to F-F.
    assert not harmony.is_parallel(48, 48, 55, 55)  # Held.
    assert not harmony.is_parallel(48, 50, 55, 53)  # A fifth, then a third.
