"""The composer's likelihood of whole pieces, with nothing, the form or the latents given."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import jax
import numpy as np
import pytest

from vae_jax.composer import notes as notes_lib
from vae_jax.composer import stage
from vae_jax.composer.stage import TrainedComposer
from vae_jax.evaluation.likelihood import composer as composer_lib
from vae_jax.evaluation.likelihood.composer import ComposerLikelihood
from vae_jax.evaluation.likelihood.frequencies import Frequencies
from vae_jax.evaluation.likelihood.target import TERMS, GridPiece, PieceNats, make_grid_piece
from vae_jax.representations.pianoroll.config import RollConfig
from vae_jax.representations.pianoroll.durations import duration_classes
from vae_jax.training.experiment import load_experiment


class Scored(NamedTuple):
    """A held-out piece of a run, scored by its composer."""

    composer: TrainedComposer
    piece: GridPiece
    frequencies: Frequencies
    plain: PieceNats
    with_form: PieceNats
    with_latents: PieceNats


@pytest.fixture(scope="module")
def scored(small_run: pathlib.Path) -> Scored:
    run = load_experiment(str(small_run))
    corpus, split = run.load_corpus()
    composer = stage.load_composer(run)
    piece = make_grid_piece(corpus.pieces[split.held_out[0]].score, RollConfig())
    frequencies = Frequencies([piece])
    rows = (
        ComposerLikelihood(composer, frequencies),
        ComposerLikelihood(composer, frequencies, with_form=True),
        ComposerLikelihood(composer, frequencies, latent_key=jax.random.key(0)),
    )
    return Scored(composer, piece, frequencies, *(row.nats([piece])[0] for row in rows))


def test_the_composer_writes_the_notes_of_the_target(scored):
    notes = notes_lib.read_piece(scored.piece.score)
    mine = sorted(zip(notes.step, notes.pitch, duration_classes(notes.duration), strict=True))
    target = sorted(zip(scored.piece.step, scored.piece.pitch, scored.piece.duration, strict=True))
    assert mine == target and len(mine) > 10


def test_what_is_given_is_said_and_changes_the_cost(scored):
    costs = [sum(getattr(row, term) for term in TERMS) for row in (scored.plain, scored.with_form)]
    assert costs[0] != costs[1]
    assert scored.plain.kl is None and scored.with_form.kl is None
    assert scored.with_latents.kl is not None and scored.with_latents.kl >= 0
    assert scored.with_latents.drums == scored.plain.drums


def test_padding_costs_nothing(scored, monkeypatch):
    monkeypatch.setattr(composer_lib, "_ROUND", 2048)
    (padded,) = ComposerLikelihood(scored.composer, scored.frequencies).nats([scored.piece])
    for term in TERMS:
        assert getattr(padded, term) == pytest.approx(getattr(scored.plain, term), rel=1e-4)


def test_drums_that_the_composer_lacks_have_their_frequencies(scored):
    """With all drum pitches known nothing is left to the frequencies."""
    asked = []

    class Recorded(Frequencies):
        def mask_nats(self, piece, onsets, drums):
            asked.append((onsets, drums))
            return super().mask_nats(piece, onsets, drums)

    ComposerLikelihood(scored.composer, Recorded([scored.piece])).nats([scored.piece])
    ((onsets, drums),) = asked
    assert not onsets.any()
    left_out = np.flatnonzero(drums[0]) + notes_lib.MIN_PITCH
    assert np.array_equal(drums, np.repeat(drums[:1], scored.piece.num_steps, axis=0))
    assert not set(left_out) & set(scored.composer.drums.tolist())
    in_range = [p for p in scored.composer.drums if notes_lib.MIN_PITCH <= p < notes_lib.MIN_PITCH + drums.shape[1]]
    assert len(left_out) == drums.shape[1] - len(in_range)
