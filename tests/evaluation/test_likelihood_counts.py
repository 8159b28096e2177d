"""Training frequencies and the n-gram model: probabilities sum to one, known entropies are reached, nothing leaks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from grid_pieces import all_cells, grid_piece, random_pieces

from vae_jax.evaluation.likelihood.contexts import Events
from vae_jax.evaluation.likelihood.frequencies import Frequencies
from vae_jax.evaluation.likelihood.ngram import BackoffModel, NGram
from vae_jax.evaluation.likelihood.target import NUM_DURATIONS, TERMS

MODELS = {
    "frequencies": lambda pieces: Frequencies(pieces),
    "ngram": lambda pieces: NGram(pieces, range(len(pieces))),
}


def two_pitch_pieces() -> list:
    return [*random_pieces(3, seed=0, num_pitches=2), grid_piece(8), grid_piece(8, [(0, 1, 3, 1)], [(4, 0)])]


@pytest.mark.parametrize("name", MODELS)
def test_all_sets_of_onsets_and_of_drums_sum_to_one(name):
    """All 256 pieces of four steps and two pitches."""
    model = MODELS[name](two_pitch_pieces())
    pieces = [grid_piece(4, [(*cell, 5, 3) for cell in cells], cells) for cells in all_cells(4, 2)]
    fixed = [grid_piece(4, [(1, 0, 5, 3)], cells) for cells in all_cells(4, 2)]  # Drums may follow from the onsets.
    assert sum(math.exp(-one.onsets) for one in model.nats(pieces)) == pytest.approx(1, abs=1e-9)
    assert sum(math.exp(-one.drums) for one in model.nats(fixed)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("name", "sets"), [("frequencies", range(128)), ("ngram", range(1, 128))])
def test_all_durations_and_parts_of_a_chord_sum_to_one(name, sets):
    """Those of the second note, whose context is the first, for two first notes; and those of the first."""
    model = MODELS[name](two_pitch_pieces())

    def total(term: str, values: range, notes) -> float:
        costs = model.nats([grid_piece(4, notes(value)) for value in values])
        return sum(math.exp(-getattr(one, term)) for one in costs)

    durations = range(NUM_DURATIONS)
    assert total("durations", durations, lambda n: [(0, 1, n, 3)]) == pytest.approx(1, abs=1e-9)
    assert total("parts", sets, lambda n: [(0, 1, 5, n)]) == pytest.approx(1, abs=1e-9)
    for first in ((0, 1, 4, 1), (0, 1, 11, 9)):
        (alone,) = model.nats([grid_piece(4, [first])])
        given = total("durations", durations, lambda n, first=first: [first, (0, 0, n, 3)])
        assert given / math.exp(-alone.durations) == pytest.approx(1, abs=1e-9)
        given = total("parts", sets, lambda n, first=first: [first, (0, 0, 5, n)])
        assert given / math.exp(-alone.parts) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_the_cost_of_a_piece_does_not_depend_on_those_beside_it(name):
    training, scored = random_pieces(4, seed=1), random_pieces(3, seed=2)
    model = MODELS[name](training)
    for one, together in zip(scored, model.nats(scored), strict=True):
        (alone,) = model.nats([one])
        assert [getattr(together, term) for term in TERMS] == pytest.approx([getattr(alone, term) for term in TERMS])


def test_frequencies_reach_the_entropy_of_independent_cells():
    rng = np.random.default_rng(0)
    probs = rng.uniform(0.05, 0.6, (2, 3))  # By step in the beat and pitch.

    def sample(num_steps: int):
        cells = np.argwhere(rng.random((num_steps, 3)) < np.tile(probs, (num_steps // 2, 1)))
        return grid_piece(num_steps, [(t, p, 0, 1) for t, p in cells.tolist()], num_pitches=3, steps_per_beat=2)

    found = Frequencies([sample(20_000)]).nats([sample(20_000)])[0].onsets
    entropy = -10_000 * (probs * np.log(probs) + (1 - probs) * np.log(1 - probs)).sum()
    assert found == pytest.approx(entropy, rel=0.01)


def test_frequencies_of_masks_that_divide_the_cells_add_up():
    training, piece = random_pieces(3, seed=3), random_pieces(1, seed=4)[0]
    model, mask = Frequencies(training), np.random.default_rng(5).random((piece.num_steps, 5)) < 0.5
    halves = [model.mask_nats(piece, one, one) for one in (mask, ~mask)]
    (whole,) = model.nats([piece])
    for term in TERMS:
        assert sum(getattr(half, term) for half in halves) == pytest.approx(getattr(whole, term))


def markov_events(rng: np.random.Generator, matrix: np.ndarray, length: int) -> Events:
    states = [0]
    for _ in range(length):
        states.append(int(rng.choice(len(matrix), p=matrix[states[-1]])))
    symbols = np.array(states)
    older = np.concatenate([[0], symbols[:-2]])
    return Events(symbols[1:], np.stack([symbols[:-1], older], axis=1), np.full(length, 1 / len(matrix)))


def test_the_ngram_reaches_the_entropy_of_a_markov_chain():
    """Its second column, the state before the last, says nothing more."""
    rng = np.random.default_rng(0)
    matrix = rng.dirichlet(np.ones(4), size=4)
    training, scored = [markov_events(rng, matrix, 2000) for _ in range(5)], markov_events(rng, matrix, 5000)
    values, vectors = np.linalg.eig(matrix.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    entropy = -np.sum(stationary / stationary.sum() * np.sum(matrix * np.log(matrix), axis=1))
    found = BackoffModel(training, range(5)).nats([scored])[0] / 5000
    assert found == pytest.approx(entropy, rel=0.02)


def test_the_ngram_learns_from_the_piece_itself():
    """Bars that no training piece holds become cheap as they return."""
    model = NGram(random_pieces(4, seed=6), range(4))
    once = [(t, (t * 7) % 5, 9, 64) for t in range(4)]
    again = [(t + 4 * bar, *rest) for bar in range(6) for t, *rest in once]
    first, all_six = model.nats(
        [grid_piece(n, notes, num_pitches=5, steps_per_beat=2) for n, notes in ((4, once), (24, again))]
    )
    for term in ("onsets", "durations", "parts"):
        assert getattr(all_six, term) < 4 * getattr(first, term)


def test_pieces_of_one_tune_choose_no_strength_by_each_other():
    """Two copies of a piece would make its contexts look certain: with one tune they are chosen without them."""
    one, other = random_pieces(2, seed=7)
    as_one, as_two = (NGram([one, one], tunes).nats([other])[0] for tunes in ((0, 0), (0, 1)))
    assert as_one.onsets < as_two.onsets


@pytest.mark.parametrize("name", MODELS)
def test_pieces_without_notes_or_without_drums_are_scored(name):
    empty = [grid_piece(8), grid_piece(8, drums=[(0, 1)])]
    for training in (two_pitch_pieces(), empty, empty[:1]):
        for nats in MODELS[name](training).nats(empty):
            assert (nats.durations, nats.parts) == (0, 0)
            assert 0 < nats.onsets < 100 and 0 < nats.drums < 100
