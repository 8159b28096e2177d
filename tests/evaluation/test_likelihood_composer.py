"""The composer's likelihood of whole pieces: every window once, what the lists cannot hold by training frequencies."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import numpy as np
import pytest

from vae_jax.composer import dataset, onset_encoding, stage
from vae_jax.composer.stage import TrainedComposer
from vae_jax.evaluation.likelihood.composer import ComposerLikelihood
from vae_jax.evaluation.likelihood.frequencies import Frequencies
from vae_jax.evaluation.likelihood.target import GridPiece, PieceNats, make_grid_piece
from vae_jax.music.instruments import DRUMS
from vae_jax.music.quantization import first_downbeat
from vae_jax.representations import arrays
from vae_jax.training.experiment import load_experiment


class Recorded(Frequencies):
    """Training frequencies that note down which cells they were asked for."""

    def mask_nats(self, piece, onsets, drums):
        self.asked = [*getattr(self, "asked", []), (onsets, drums)]
        return super().mask_nats(piece, onsets, drums)


class Scored(NamedTuple):
    """The held-out pieces of a run, scored by its composer; the model is compiled once."""

    composer: TrainedComposer
    likelihood: ComposerLikelihood
    pieces: list[GridPiece]
    nats: list[PieceNats]
    asked: list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def scored(small_run: pathlib.Path) -> Scored:
    run = load_experiment(str(small_run))
    corpus, split = run.load_corpus()
    composer = stage.load_composer(run)
    pieces = [make_grid_piece(corpus.pieces[n].score, composer.stage.representation) for n in split.held_out]
    frequencies = Recorded(pieces)
    likelihood = ComposerLikelihood(composer, frequencies)
    return Scored(composer, likelihood, pieces, likelihood.nats(pieces), frequencies.asked)


def test_every_note_is_coded_once_by_the_lists_or_the_frequencies(scored):
    shape, representation = scored.composer.stage.shape, scored.composer.stage.representation
    for piece, (onsets, drums) in zip(scored.pieces, scored.asked, strict=True):
        starts = dataset.example_starts(piece.roll, representation.window_beats)[:: representation.window_beats]
        assert starts[0] == first_downbeat(piece.roll.bars) and np.all(np.diff(starts) == shape.window_steps)
        windows = representation.encode_at(piece.roll, starts)
        lists = onset_encoding.from_windows(windows, scored.composer.drum_pitches, shape)
        listed, struck, played, hit = np.zeros((4, *onsets.shape), bool)
        for start, notes in zip(
            starts, onset_encoding.to_notes(lists, scored.composer.drum_pitches, shape), strict=True
        ):
            for step, part, pitch, _ in notes.tolist():
                (struck if part == DRUMS else listed)[start + step, pitch] = True
        played[piece.step, piece.pitch], hit[piece.drum_step, piece.drum_pitch] = True, True
        assert not np.any(listed & onsets) and not np.any(struck & drums)
        assert np.array_equal(listed | (played & onsets), played)
        assert np.array_equal(struck | (hit & drums), hit)


def test_a_piece_costs_its_windows_and_what_is_left_out(scored):
    """The windows are made anew from the piece, one after the other, and go through the loss in one batch."""
    piece, representation = scored.pieces[0], scored.composer.stage.representation
    starts = dataset.example_starts(piece.roll, representation.window_beats)[:: representation.window_beats]
    windows = representation.encode_at(piece.roll, starts)
    lists = onset_encoding.from_windows(windows, scored.composer.drum_pitches, scored.composer.stage.shape)
    rows = np.arange(len(starts)) * representation.window_beats
    examples = scored.likelihood._make_examples((piece,))
    batch = arrays.take(examples, rows)._replace(onsets=lists)
    nats = scored.likelihood._window_nats(batch)
    (rest,) = (Frequencies(scored.pieces).mask_nats(piece, *masks) for masks in scored.asked[:1])
    terms = {"onsets": ("step_nats", "pitch_nats"), "durations": ("duration_nats",), "parts": ("part_nats",)}
    for term, names in (terms | {"drums": ("drum_nats",)}).items():
        expected = sum(nats[name].sum() for name in names) + getattr(rest, term)
        assert getattr(scored.nats[0], term) == pytest.approx(expected, rel=1e-4)


def test_without_returns_no_window_to_repeat_is_given(scored):
    untold = scored.likelihood.without_returns()
    assert len(scored.likelihood.given) == 2 and len(untold.given) == 1
    assert untold.nats(scored.pieces) != scored.nats
    assert scored.likelihood.nats(scored.pieces) == scored.nats
