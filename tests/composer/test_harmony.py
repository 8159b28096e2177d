"""The chords of pieces and the model that plans them."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from note_pieces import no_form, note_piece

from vae_jax.composer import harmony as harmony_lib
from vae_jax.composer import notes as notes_lib
from vae_jax.composer.form import Form
from vae_jax.composer.harmony import NO_CHORD, NUM_CHORDS, UNKNOWN, Beats, HarmonyModel
from vae_jax.runtime.json_dataclass import from_json, to_json

C, A_MINOR, F, G = 0, 19, 10, 14  # Classes of chords.


def beats(num: int, minor: bool = False, source: int = -1, similarity: float = 0.0) -> Beats:
    """Bars of four quarter notes without pick-up."""
    index = np.arange(num)
    place = np.array([0, 2, 1, 2])[index % 4]
    return Beats(minor, place, num - 1 - index, np.where(index < 4, -1, source), np.full(num, similarity))


def model_of(*songs: list[int], melody: tuple[int, ...] = ()) -> HarmonyModel:
    """The model of songs, in which a melody of such intervals above the roots sounds."""
    weights = [
        np.array([np.isin(np.arange(12), [(one // 2 + step) % 12 for step in melody]) for one in song], np.float64)
        for song in songs
    ]
    return harmony_lib.fit_harmony(
        [(beats(len(song)), np.array(song), w) for song, w in zip(songs, weights, strict=True)]
    )


def test_chords_of_a_piece():
    """C major, A minor over two quarter notes, the bare fifth F-C, and silence."""
    triads = [(0, 24), (0, 28), (0, 31), (12, 33), (12, 24), (12, 28), (36, 29), (36, 36)]
    piece = note_piece([(step, pitch, 24 if step == 12 else 12) for step, pitch in triads], (0, 60))
    found = notes_lib.chords_at(np.array([0, 11, 12, 50, 60]), piece.harmony)
    assert piece.harmony.tolist() == [C, A_MINOR, A_MINOR, F, NO_CHORD]
    assert found.tolist() == [
        [UNKNOWN, C, A_MINOR],
        [UNKNOWN, C, A_MINOR],
        [C, A_MINOR, A_MINOR],
        [F, NO_CHORD, UNKNOWN],
        [NO_CHORD, UNKNOWN, UNKNOWN],
    ]


def test_places_of_quarter_notes():
    """A pick-up of a quarter note and two bars of 4/4; the second phrase of a bar returns to the first."""
    form = Form(12, 48, np.array([0, 1]), np.array([0, 0.9]))
    piece = note_piece([(0, 40, 12), (84, 40, 12)], (0, 12, 60, 108), form=form)
    found = notes_lib.beats_of(piece, piece.last)
    assert found.place.tolist() == [2, 0, 2, 1, 2, 0, 2, 1, 2]
    assert found.left.tolist() == [7, 6, 5, 4, 3, 2, 1, 0, -1]
    assert found.source.tolist() == [-1] * 5 + [1, 2, 3, 4]
    assert found.similarity.tolist() == [0] * 5 + [0.9] * 4


@hypothesis.given(
    songs=st.lists(st.lists(st.integers(0, NUM_CHORDS - 1), min_size=1, max_size=12), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
@hypothesis.settings(max_examples=25)
def test_probabilities_of_the_next_chord_sum_to_one(songs, seed):
    model, rng = model_of(*songs), np.random.default_rng(seed)
    context = np.array([0, rng.integers(-1, 7), rng.integers(26), rng.integers(3), rng.integers(26), rng.integers(5)])
    found = model.predict(context)
    assert found.sum() == pytest.approx(1) and (found > 0).all()


def test_nats_are_those_of_what_is_sampled():
    """The mean cost of sampled chords is the entropy of the first, which is enumerated."""
    model, one = model_of([C, C, G, C] * 2, [F, C] * 3), beats(1)
    shares = np.exp([-model.nats(one, np.array([chord])) for chord in range(NUM_CHORDS)])
    drawn = [int(model.sample(one, np.random.default_rng(seed))[0]) for seed in range(4000)]
    assert shares.sum() == pytest.approx(1)
    assert np.abs(np.bincount(drawn, minlength=NUM_CHORDS) / 4000 - shares).max() < 0.03


def test_songs_that_alternate_are_continued_so():
    songs = [[C, G] * 8] * 40
    found = model_of(*songs).sample(beats(16), np.random.default_rng(0))
    assert np.mean(found == np.array([C, G] * 8)) > 0.9


def test_phrases_that_return_bring_their_chords():
    """In training all phrases of a bar are alike; what is copied in a new piece is its own first bar."""
    rows = [
        (beats(24, source=0, similarity=0.95), np.full(24, chord), np.zeros((24, 12))) for chord in range(NUM_CHORDS)
    ]
    rows += [(beats(24, source=0, similarity=0.1), (np.arange(24) + n) % 24, np.zeros((24, 12))) for n in range(8)]
    model = harmony_lib.fit_harmony(rows)
    assert model.copies[0] == 0 and model.copies[-1] > 0.95
    found = model.sample(beats(24, source=0, similarity=0.95), np.random.default_rng(0))
    assert np.mean(found[4:18] == found[0]) > 0.8


def test_a_phrase_that_returns_does_not_bring_its_chords_into_the_ending():
    """All phrases are alike but for the cadence, G and C: an ending from a copy of the first bar would have none."""
    song = np.array([C] * 22 + [G, C])
    whole = beats(24, source=0, similarity=0.95)
    model = harmony_lib.fit_harmony([(whole, song, np.zeros((24, 12)))] * 20)
    assert model.copies[-1] > 0.95
    endings = [model.sample(whole, np.random.default_rng(seed))[-2:].tolist() for seed in range(20)]
    assert endings.count([G, C]) > 15


def test_chords_fit_a_melody():
    """Of songs on C and songs on G, a melody of G's third chooses the second."""
    model = model_of(*[[C] * 8, [G] * 8] * 5, melody=(0, 4, 7))
    melody = harmony_lib.sounding(np.arange(8) * 12, np.full(8, 11), np.full(8, 12), 8)
    found = [
        model.sample(beats(8), np.random.default_rng(n), model.melody_likelihood(melody)).tolist() for n in range(10)
    ]
    assert np.mean(np.array(found) == G) > 0.9


def test_chords_that_are_given_may_change_after_the_last_onset():
    """As in pieces whose notes end one after another; those that are free sound on."""
    model = model_of([C, G, F, C] * 4)
    place = beats(8)._replace(left=np.arange(5, -3, -1))
    given = np.ones((8, NUM_CHORDS))
    given[6] = np.eye(NUM_CHORDS)[A_MINOR]
    for seed in range(10):
        found = model.sample(place, np.random.default_rng(seed), given)
        assert found[6] == A_MINOR and found[7] in (A_MINOR, NO_CHORD)


def test_a_model_that_starts_from_another_prefers_its_own_songs():
    other = model_of(*[[G] * 8] * 4)
    own = [(beats(8), np.full(8, C), np.zeros((8, 12)))]
    model, known = harmony_lib.fit_harmony(own, other), np.array([0, 6, UNKNOWN, 0, UNKNOWN, 0])
    assert [one.weight for one in model.sequences] == [1.0, 0.03, 0.03, 0.03, 0.03]
    assert model.predict(known)[C] > model.predict(known)[G] > harmony_lib.fit_harmony(own).predict(known)[G]


def test_models_are_kept_as_json():
    model = model_of([C, G, NO_CHORD], [F])
    again = from_json(HarmonyModel, to_json(model))
    assert (again.sequences, again.copies) == (model.sequences, model.copies)
    assert np.array_equal(again.melody, model.melody)


def test_a_corpus_without_returns():
    model = model_of([C])
    assert not any(model.copies)
    assert model.sample(beats(0), np.random.default_rng(0)).tolist() == []
    assert note_piece([(0, 40, 12)], (0, 48), form=no_form()).harmony.tolist()[1:] == [NO_CHORD] * 3
