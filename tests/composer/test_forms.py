"""Forms read from pieces made by hand, drawn within their bounds, and back from JSON."""

from __future__ import annotations

import dataclasses
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from vae_jax.composer import structure
from vae_jax.composer.structure import Form, FormModel
from vae_jax.music import instruments
from vae_jax.representations.pianoroll.config import RollConfig
from vae_jax.representations.pianoroll.context import default_context
from vae_jax.representations.pianoroll.encoding import RollPiece, RollReport

CONFIG = RollConfig(steps_per_beat=2, window_beats=4, num_pitches=24)  # Windows of eight steps, a bar of 4/4.


def piece_of(letters: str, meter: tuple[int, int] = (4, 4), phrase: int = 8) -> RollPiece:
    """A phrase for each letter; those of different letters share nothing, small letters half with capital ones."""
    rows = []
    for n, letter in enumerate(letters):
        pitch = ord(letter.upper()) - ord("A")
        for step in range(0, phrase, 2):
            lower = letter.islower() and step >= phrase // 2
            rows.append((n * phrase + step, instruments.KEYS, 2 * pitch + lower, 1))
    num_steps = len(letters) * phrase
    context = default_context(num_steps, CONFIG.steps_per_beat, meter=meter)
    return RollPiece(np.array(rows, np.int32).reshape(-1, 4), num_steps, context, RollReport(), CONFIG)


def model_of(*letters: str) -> FormModel:
    return structure.fit_forms([structure.read_form(piece_of(text)) for text in letters])


def test_the_form_of_a_song():
    form = structure.read_form(piece_of("AABA"))
    assert form.back.tolist() == [0, 1, 0, 3]
    assert form.similarity.tolist() == [0, 1, 0, 1]


def test_a_phrase_that_returns_changed():
    form = structure.read_form(piece_of("ABaAb"))
    assert form.back.tolist() == [0, 0, 2, 3, 3]
    assert form.similarity.tolist() == [0, 0, 0.5, 1, 0.5]


@pytest.mark.parametrize(("meter", "phrase"), [((3, 4), 6), ((2, 4), 8), ((1, 4), 8), ((3, 8), 6), ((4, 4), 8)])
def test_phrases_are_whole_bars(meter, phrase):
    piece = piece_of("AAAA", meter, phrase)
    assert structure.window_starts(piece).tolist() == [0, phrase, 2 * phrase, 3 * phrase]


def test_phrases_start_after_the_pick_up():
    piece = piece_of("AAAA")
    shifted = dataclasses.replace(piece.context, bars=np.array([0, 2, 10, 18, 26, 34]))
    assert structure.window_starts(dataclasses.replace(piece, context=shifted)).tolist() == [2, 10, 18, 26]
    none = dataclasses.replace(piece.context, bars=np.array([0]))
    assert len(structure.window_starts(dataclasses.replace(piece, context=none))) == 0


def test_a_bar_that_is_longer_than_a_window_is_cut():
    assert structure.phrase_steps(12, 8) == 8
    assert structure.phrase_steps(8, 8) == 8
    assert structure.phrase_steps(3, 8) == 6


def test_transitions_by_hand():
    """Of ABAB: the third window returns two back, and the fourth goes on with that."""
    model = model_of("ABAB")
    assert model.back.tolist() == [2, 2]
    assert model.goes_on.tolist() == [False, True]
    assert model.similarity_before.tolist() == [0, 1]
    assert model.similarity.tolist() == [1, 1]


def test_a_corpus_of_one_form_is_drawn_as_it_is():
    """The return of ABAB comes from two windows back and goes on for good."""
    form = model_of("ABAB", "CDCD").draw(10, 2, np.random.default_rng(0))
    assert form.back.tolist() == [0, 0] + [2] * 8
    assert form.similarity.tolist() == [0, 0] + [1] * 8


def test_how_often_a_return_goes_on_is_that_of_the_corpus():
    """A model with two kinds of transition, after like and unlike windows."""
    before = np.array([1.0] * 4 + [0.1] * 4)
    goes_on = np.array([True, True, True, False, True, False, False, False])
    back = np.where(goes_on, 3, 5)
    similarity = np.where(goes_on, 1.0, 0.1)
    model = FormModel(before, similarity, back, goes_on)
    form = model.draw(20_000, 1, np.random.default_rng(1))
    went_on = form.similarity[21:] == 1.0
    after_like = form.similarity[20:-1] == 1.0
    assert went_on[after_like].mean() == pytest.approx(3 / 4, abs=0.02)
    assert went_on[~after_like].mean() == pytest.approx(1 / 4, abs=0.02)
    assert np.all(form.back[21:][went_on] == form.back[20:-1][went_on])


@hypothesis.given(
    st.integers(0, 40),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
    st.lists(st.text("ABab", min_size=0, max_size=12), max_size=3),
)
def test_sources_lie_in_the_piece_and_not_too_near(num_windows, nearest, seed, letters):
    model = model_of(*letters)
    form = model.draw(num_windows, nearest, np.random.default_rng(seed))
    assert form.back.shape == form.similarity.shape == (num_windows,)
    assert np.all(form.back[:nearest] == 0) and np.all(form.similarity[:nearest] == 0)
    later = form.back[nearest:]
    assert np.all(later >= nearest)
    assert np.all(np.arange(nearest, num_windows) - later >= 0)
    assert np.all((form.similarity >= 0) & (form.similarity <= 1))
    again = model.draw(num_windows, nearest, np.random.default_rng(seed))
    np.testing.assert_array_equal(form.back, again.back)
    np.testing.assert_array_equal(form.similarity, again.similarity)


def test_other_seeds_draw_other_forms():
    model = model_of("ABABCABB", "AABAbC")
    drawn = {tuple(model.draw(20, 1, np.random.default_rng(seed)).back.tolist()) for seed in range(10)}
    assert len(drawn) > 5


@pytest.mark.parametrize("letters", [(), ("",), ("A",), ("ABCD",)])
def test_a_corpus_without_returns(letters):
    model = model_of(*letters)
    assert len(model.back) == 0
    form = model.draw(8, 2, np.random.default_rng(0))
    assert np.all(form.back[2:] >= 2) and np.all(form.similarity == 0)


@pytest.mark.parametrize("letters", [(), ("ABAb", "AABA")])
def test_packed_models_draw_the_same(letters):
    model = model_of(*letters)
    again = structure.unpack(json.loads(json.dumps(model.pack())))
    for field in dataclasses.fields(FormModel):
        one, other = getattr(model, field.name), getattr(again, field.name)
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    drawn = [each.draw(12, 1, np.random.default_rng(5)) for each in (model, again)]
    assert isinstance(drawn[0], Form)
    np.testing.assert_array_equal(drawn[0].back, drawn[1].back)
