"""Forms of pieces made by hand, their transitions, and sampled forms."""

from __future__ import annotations

import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from note_pieces import note_piece

from vae_jax.composer import form as form_lib
from vae_jax.composer.form import Form, FormModel
from vae_jax.runtime.json_dataclass import from_json, to_json


def form_of(letters: str, *, bar: int = 48, start: int = 0) -> Form:
    """A phrase of two bars for each letter; those of different letters share nothing, small ones half with capitals."""
    notes = []
    for n, letter in enumerate(letters):
        pitch = 2 * (ord(letter.upper()) - ord("A"))
        for k in range(4):
            step = start + 2 * bar * n + k * bar // 2
            notes.append((step, 20 + pitch + (letter.islower() and k >= 2), 6))
    bars = [*([0] if start else []), *range(start, start + 2 * bar * len(letters) + 1, bar)]
    return note_piece(notes, bars, bar=bar).form


@pytest.mark.parametrize(
    ("letters", "back", "similarity"),
    [
        ("AABA", [0, 1, 0, 2], [0, 1, 0, 1]),
        ("ABaAb", [0, 0, 2, 3, 3], [0, 0, 0.5, 1, 0.5]),
        ("ABAB", [0, 0, 2, 2], [0, 0, 1, 1]),
        ("AAAA", [0, 1, 1, 1], [0, 1, 1, 1]),  # The nearest of equals.
        ("A", [0], [0]),
    ],
)
def test_the_form_of_a_song(letters, back, similarity):
    form = form_of(letters)
    assert (form.back.tolist(), form.similarity.tolist()) == (back, similarity)


def test_a_repetition_goes_on_where_it_was():
    """Of two equal sources that which continues the one before."""
    assert form_of("ABABAB").back.tolist() == [0, 0, 2, 2, 2, 2]
    assert form_of("ABCDAB").back.tolist() == [0, 0, 0, 0, 4, 4]


@pytest.mark.parametrize(("bar", "start"), [(36, 0), (48, 12), (24, 6)])
def test_phrases_are_two_bars_after_the_pick_up(bar, start):
    form = form_of("ABA", bar=bar, start=start)
    assert (form.start, form.phrase, form.back.tolist()) == (start, 2 * bar, [0, 0, 2])
    steps = np.array([0, start + 4 * bar - 1, start + 4 * bar, start + 6 * bar - 1, start + 6 * bar])
    assert form.lag_at(steps).tolist() == [0, 0, 4 * bar, 4 * bar, 0]
    assert form.similarity_at(steps).tolist() == [0, 0, 1, 1, 0]


def test_a_piece_without_bars():
    nothing = np.zeros(0, np.int64)
    form = form_lib.measure_form(nothing, nothing, np.array([0]), 48)
    assert len(form.back) == 0 and form.lag_at(np.array([0, 5])).tolist() == [0, 0]


def test_transitions_by_hand():
    """Of ABAB the second phrase repeats nothing, the third the one two back, and the fourth continues that."""
    model = form_lib.fit_forms([form_of("ABAB")])
    assert (model.number.tolist(), model.back_before.tolist(), model.back.tolist()) == ([1, 2, 3], [0, 0, 2], [0, 2, 2])
    assert (model.similarity_before.tolist(), model.similarity.tolist()) == ([0, 0, 1], [0, 1, 1])


def test_a_song_of_one_form_is_sampled_in_it():
    back, similarity = form_lib.fit_forms([form_of("AAAA")] * 3).sample(4, np.random.default_rng(0))
    assert (back.tolist(), similarity.tolist()) == ([0, 1, 1, 1], [0, 1, 1, 1])


def test_a_verse_returns_as_a_whole_and_where_it_does():
    """Of the nearest transitions in number, and of those with a source about as far back."""
    model = form_lib.fit_forms([form_of("ABCDABCD")] * 16 + [form_of("AABCDEFGGG")])
    verses = {tuple(model.sample(8, np.random.default_rng(seed))[0].tolist()) for seed in range(40)}
    assert (0, 0, 0, 0, 4, 4, 4, 4) in verses
    for back in verses:
        assert all(later in (4, 0) for one, later in itertools.pairwise(back) if one == 4)


def test_without_any_repetition_none_is_sampled():
    back, similarity = form_lib.fit_forms([form_of("ABC")]).sample(5, np.random.default_rng(0))
    assert not back.any() and not similarity.any()


@hypothesis.given(
    songs=st.lists(st.text("ABab", min_size=1, max_size=8), min_size=1, max_size=3),
    num=st.integers(1, 40),
    seed=st.integers(0, 9),
)
@hypothesis.settings(max_examples=20)
def test_sampled_forms_are_valid(songs, num, seed):
    model = form_lib.fit_forms([form_of(letters) for letters in songs])
    back, similarity = model.sample(num, np.random.default_rng(seed))
    assert back.shape == similarity.shape == (num,)
    assert ((back >= 0) & (back <= np.arange(num))).all(), "no source lies before the piece"
    assert ((similarity >= 0) & (similarity <= 1)).all()


def test_models_are_kept_as_json():
    model = form_lib.fit_forms([form_of("AABA")])
    again = from_json(FormModel, to_json(model))
    assert all(np.array_equal(getattr(model, name), getattr(again, name)) for name in vars(model))
