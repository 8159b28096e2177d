"""Forms read from pieces made by hand, and sampled within their bounds."""

from __future__ import annotations

import dataclasses
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from vae_jax.composer import structure
from vae_jax.composer.structure import FormModel
from vae_jax.composer.windows import WindowedRoll
from vae_jax.music import instruments
from vae_jax.representations.pianoroll.context import default_context
from vae_jax.representations.pianoroll.encoding import RollPiece, RollReport
from vae_jax.runtime.json_dataclass import from_json, to_json

ROLL = WindowedRoll(
    steps_per_beat=2, window_beats=4, num_pitches=24, max_notes=32
)  # Windows of eight steps, a bar of 4/4.


def piece_of(letters: str, meter: tuple[int, int] = (4, 4), phrase: int = 8) -> RollPiece:
    """A phrase for each letter; those of different letters share nothing, small letters half with capital ones."""
    rows = []
    for n, letter in enumerate(letters):
        pitch = ord(letter.upper()) - ord("A")
        for step in range(0, phrase, 2):
            lower = letter.islower() and step >= phrase // 2
            rows.append((n * phrase + step, instruments.KEYS, 2 * pitch + lower, 1))
    num_steps = len(letters) * phrase
    context = default_context(num_steps, ROLL.steps_per_beat, meter=meter)
    return RollPiece(np.array(rows, np.int32).reshape(-1, 4), num_steps, context, RollReport(), ROLL)


def model_of(*letters: str) -> FormModel:
    return structure.fit_forms([structure.read_form(piece_of(text), ROLL) for text in letters])


def test_the_form_of_a_song():
    form = structure.read_form(piece_of("AABA"), ROLL)
    assert form.back.tolist() == [0, 1, 0, 3]
    assert form.similarity.tolist() == [0, 1, 0, 1]


def test_a_phrase_that_is_repeated_with_changes():
    form = structure.read_form(piece_of("ABaAb"), ROLL)
    assert form.back.tolist() == [0, 0, 2, 3, 3]
    assert form.similarity.tolist() == [0, 0, 0.5, 1, 0.5]


@pytest.mark.parametrize(("meter", "phrase"), [((3, 4), 6), ((2, 4), 8), ((1, 4), 8), ((3, 8), 6), ((4, 4), 8)])
def test_phrases_are_whole_bars(meter, phrase):
    piece = piece_of("AAAA", meter, phrase)
    assert structure.phrase_starts(piece, ROLL).tolist() == [0, phrase, 2 * phrase, 3 * phrase]


def test_phrases_start_after_the_pick_up():
    piece = piece_of("AAAA")
    shifted = dataclasses.replace(piece.context, bars=np.array([0, 2, 10, 18, 26, 34]))
    assert structure.phrase_starts(dataclasses.replace(piece, context=shifted), ROLL).tolist() == [2, 10, 18, 26]
    none = dataclasses.replace(piece.context, bars=np.array([0]))
    assert len(structure.phrase_starts(dataclasses.replace(piece, context=none), ROLL)) == 0


def test_a_bar_that_is_longer_than_a_window_is_cut():
    assert structure.phrase_steps(12, 8) == 8
    assert structure.phrase_steps(8, 8) == 8
    assert structure.phrase_steps(3, 8) == 6


def test_transitions_by_hand():
    """Of ABAB: the third window repeats the one two back, and the fourth continues that."""
    model = model_of("ABAB")
    assert model.back.tolist() == [2, 2]
    assert model.continues.tolist() == [False, True]
    assert model.similarity_before.tolist() == [0, 1]
    assert model.similarity.tolist() == [1, 1]


def test_a_corpus_of_one_form_is_sampled_as_it_is():
    """The repetition of ABAB comes from two windows back and never ends."""
    form = model_of("ABAB", "CDCD").sample(10, 2, np.random.default_rng(0))
    assert form.back.tolist() == [0, 0] + [2] * 8
    assert form.similarity.tolist() == [0, 0] + [1] * 8


def test_repetitions_continue_as_often_as_in_the_corpus():
    """A model with two kinds of transition, after like and unlike windows."""
    before = np.array([1.0] * 4 + [0.1] * 4)
    continues = np.array([True, True, True, False, True, False, False, False])
    back = np.where(continues, 3, 5)
    similarity = np.where(continues, 1.0, 0.1)
    model = FormModel(before, similarity, back, continues)
    form = model.sample(20_000, 1, np.random.default_rng(1))
    continued = form.similarity[21:] == 1.0
    after_like = form.similarity[20:-1] == 1.0
    assert continued[after_like].mean() == pytest.approx(3 / 4, abs=0.02)
    assert continued[~after_like].mean() == pytest.approx(1 / 4, abs=0.02)
    assert np.all(form.back[21:][continued] == form.back[20:-1][continued])


@hypothesis.given(
    st.integers(0, 40),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
    st.lists(st.text("ABab", min_size=0, max_size=12), max_size=3),
)
def test_sources_lie_in_the_piece_and_not_too_near(num_windows, nearest, seed, letters):
    model = model_of(*letters)
    form = model.sample(num_windows, nearest, np.random.default_rng(seed))
    assert form.back.shape == form.similarity.shape == (num_windows,)
    assert np.all(form.back[:nearest] == 0) and np.all(form.similarity[:nearest] == 0)
    later = form.back[nearest:]
    assert np.all(later >= nearest)
    assert np.all(np.arange(nearest, num_windows) - later >= 0)
    assert np.all((form.similarity >= 0) & (form.similarity <= 1))
    again = model.sample(num_windows, nearest, np.random.default_rng(seed))
    np.testing.assert_array_equal(form.back, again.back)
    np.testing.assert_array_equal(form.similarity, again.similarity)


def test_other_seeds_sample_other_forms():
    model = model_of("ABABCABB", "AABAbC")
    sampled = {tuple(model.sample(20, 1, np.random.default_rng(seed)).back.tolist()) for seed in range(10)}
    assert len(sampled) > 5


@pytest.mark.parametrize("letters", [(), ("",), ("A",), ("ABCD",)])
def test_a_corpus_without_repetitions(letters):
    model = model_of(*letters)
    assert len(model.back) == 0
    form = model.sample(8, 2, np.random.default_rng(0))
    assert np.all(form.back[2:] >= 2) and np.all(form.similarity == 0)


def test_models_come_back_from_json():
    model = model_of("ABAb", "AABA")
    again = from_json(FormModel, json.loads(json.dumps(to_json(model))))
    sampled = [each.sample(12, 1, np.random.default_rng(5)) for each in (model, again)]
    np.testing.assert_array_equal(sampled[0].back, sampled[1].back)
    np.testing.assert_array_equal(sampled[0].similarity, sampled[1].similarity)
