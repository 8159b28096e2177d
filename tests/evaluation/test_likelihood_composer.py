"""The composer's likelihood of whole pieces: every window once, what the lists cannot hold by training frequencies."""

from __future__ import annotations

import pathlib

import jax
import numpy as np
import pytest

from vae_jax.composer import dataset, onset_encoding, stage
from vae_jax.composer.stage import TrainedComposer
from vae_jax.evaluation.likelihood.composer import ComposerLikelihood
from vae_jax.evaluation.likelihood.frequencies import Frequencies
from vae_jax.evaluation.likelihood.target import TERMS, GridPiece, make_grid_piece
from vae_jax.music.quantization import first_downbeat
from vae_jax.training.experiment import load_experiment


@pytest.fixture(scope="module")
def trained(small_run: pathlib.Path) -> tuple[TrainedComposer, list[GridPiece]]:
    run = load_experiment(str(small_run))
    corpus, split = run.load_corpus()
    composer = stage.load_composer(run)
    return composer, [make_grid_piece(corpus.pieces[n].score, composer.stage.representation) for n in split.held_out]


class CountCells:
    """Stands for the frequencies: notes down which cells and notes were asked of it."""

    def mask_nats(self, piece, onsets, drums):
        self.onsets, self.drums = onsets, drums
        return Frequencies([piece]).mask_nats(piece, onsets & False, drums & False)


def test_every_note_is_coded_once_by_the_lists_or_the_frequencies(trained):
    composer, pieces = trained
    shape, window_beats = composer.stage.shape, composer.stage.representation.window_beats
    for piece in pieces:
        frequencies = CountCells()
        ComposerLikelihood(composer, frequencies).nats([piece])  # type: ignore[arg-type]
        starts = dataset.example_starts(piece.roll)[::window_beats]
        assert starts[0] == first_downbeat(piece.roll.bars) and np.all(np.diff(starts) == shape.window_steps)
        windows = composer.stage.representation.encode_at(piece.roll, starts)
        lists = onset_encoding.from_windows(windows, composer.drum_pitches, shape)
        listed, struck = np.zeros_like(frequencies.onsets), np.zeros_like(frequencies.drums)
        for start, notes in zip(starts, onset_encoding.to_notes(lists, composer.drum_pitches, shape), strict=True):
            for step, part, pitch, _ in notes.tolist():
                (struck if part == 7 else listed)[start + step, pitch] = True
        assert not np.any(listed & frequencies.onsets) and not np.any(struck & frequencies.drums)
        played = np.zeros_like(listed)
        played[piece.step, piece.pitch] = True
        assert np.array_equal(listed | (played & frequencies.onsets), played)
        hit = np.zeros_like(struck)
        hit[piece.drum_step, piece.drum_pitch] = True
        assert np.array_equal(struck | (hit & frequencies.drums), hit)


def test_the_terms_are_those_of_the_loss(trained):
    composer, pieces = trained
    frequencies = Frequencies(pieces)
    likelihood = ComposerLikelihood(composer, frequencies)
    found = likelihood.nats(pieces)
    assert [one for one in found if None in (one.onsets, one.durations, one.parts, one.drums)] == []
    counted = CountCells()
    alone = ComposerLikelihood(composer, counted).nats(pieces[:1])[0]  # type: ignore[arg-type]
    rest = frequencies.mask_nats(pieces[0], counted.onsets, counted.drums)
    for term in TERMS:
        assert getattr(found[0], term) == pytest.approx(getattr(alone, term) + getattr(rest, term), rel=1e-4)
    examples = likelihood._make_examples((pieces[0],))
    rows = np.arange(0, len(examples.onsets.steps), composer.stage.representation.window_beats)
    chosen = jax.tree.map(lambda values: values[rows], examples)
    loss, _ = composer.stage.loss(composer.variables, chosen, jax.random.key(0), False)
    assert sum(getattr(alone, term) for term in TERMS) == pytest.approx(float(loss.sum()), rel=1e-4)


def test_without_returns_no_window_to_repeat_is_given(trained):
    composer, pieces = trained
    told = ComposerLikelihood(composer, Frequencies(pieces))
    untold = told.without_returns()
    assert len(told.given) == 2 and len(untold.given) == 1
    assert untold.nats(pieces) != told.nats(pieces)
    assert told.nats(pieces) == told.nats(pieces)
