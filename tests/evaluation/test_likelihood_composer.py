"""The composer's likelihood of whole pieces: the sum of its terms, with nothing, the form or the latents given."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from beat_scores import score_of

from vae_jax.composer import crops as crops_lib
from vae_jax.composer import hiding
from vae_jax.composer import lines as lines_lib
from vae_jax.composer import notes as notes_lib
from vae_jax.composer import stage as stage_lib
from vae_jax.composer.stage import TrainedComposer
from vae_jax.evaluation.likelihood import composer as composer_lib
from vae_jax.evaluation.likelihood.composer import GRID, ComposerLikelihood
from vae_jax.evaluation.likelihood.frequencies import Frequencies
from vae_jax.evaluation.likelihood.target import GridPiece, PieceNats, make_grid_piece
from vae_jax.music import key as key_lib
from vae_jax.music.score import Score
from vae_jax.representations.pianoroll.config import RollConfig
from vae_jax.representations.pianoroll.durations import DURATION_STEPS, duration_classes
from vae_jax.training.experiment import load_experiment

CHORDS = (60, 64, 67), (65, 69, 72), (67, 71, 74), (60, 64, 67)
TUNE = score_of(*((8 * bar + 2 * n, 2, pitch) for bar in range(2) for n, chord in enumerate(CHORDS) for pitch in chord))
RESTS = score_of((0, 1, 60), (1, 1, 64), (20, 1, 67))  # Longer than the longest time.


def grid(score: Score) -> GridPiece:
    return make_grid_piece(score, RollConfig(**GRID))


class Scored(NamedTuple):
    composer: TrainedComposer
    frequencies: Frequencies
    pieces: list[GridPiece]
    plain: list[PieceNats]


@pytest.fixture(scope="module")
def scored(small_run: pathlib.Path) -> Scored:
    composer = stage_lib.load_composer(load_experiment(str(small_run)))
    pieces = [grid(TUNE), grid(RESTS)]
    frequencies = Frequencies(pieces)
    return Scored(composer, frequencies, pieces, ComposerLikelihood(composer, frequencies).nats(pieces))


def test_a_piece_costs_the_terms_of_the_decoder(scored):
    """Without padding, and with the step of the last chord planned among all steps."""
    note_nats = jax.jit(scored.composer.stage.note_nats)
    for piece, found in zip(scored.pieces, scored.plain, strict=True):
        tonic = key_lib.estimate_tonic(piece.score.notes)
        notes = notes_lib.read_piece(piece.score, tonic)
        lines = lines_lib.line_table(lines_lib.read_lines(piece.score, notes, tonic))
        crop = jax.tree.map(jnp.asarray, crops_lib.whole(notes, lines))
        crop = hiding.forget(crop, *[jnp.ones(1, bool)] * 3)
        latents = jnp.zeros((*crop.pitch.shape, scored.composer.stage.config.latent_dim + 1))
        nats = note_nats(scored.composer.variables["params"], crop, latents)
        total = {name: float(values.sum()) for name, values in nats.items()}
        rests = math.log(20 * 12 - 12 - 96 + 1) if piece is scored.pieces[1] else 0.0  # From step 12 to 228 or later.
        onsets = total["more"] + total["gap"] + total["pitch"] + math.log(piece.num_steps) + rests
        assert found.onsets == pytest.approx(onsets, rel=1e-4)
        assert found.durations == pytest.approx(total["duration"], rel=1e-4)
        assert found.parts == pytest.approx(total["lines"], rel=1e-4, abs=1e-4)
        assert found.kl is None and found.importance_weighted is None


def test_the_form_is_given_where_it_is_said_to_be(scored):
    model = ComposerLikelihood(scored.composer, scored.frequencies, with_form=True)
    assert len(model.given) == 2 and len(ComposerLikelihood(scored.composer, scored.frequencies).given) == 1
    told = model.nats(scored.pieces)
    assert told[0].onsets != scored.plain[0].onsets, "the second half repeats the first"
    assert told[1].drums == scored.plain[1].drums


def test_with_latents_it_is_a_bound_that_the_key_decides(scored):
    found = [
        ComposerLikelihood(scored.composer, scored.frequencies, latent_key=jax.random.key(seed)).nats(scored.pieces)
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] and found[0] != found[2]
    assert all(one.kl is not None and one.kl >= 0 for one in found[0])
    assert found[0][0].drums == scored.plain[0].drums and found[0][0].parts == pytest.approx(scored.plain[0].parts)


def test_a_posterior_that_is_the_prior_and_a_decoder_that_does_not_look_give_the_plain_row(scored):
    params = scored.composer.variables["params"]
    encoder = jax.tree.map(jnp.zeros_like, params["encoder"])
    place = params["decoder"]["place"]["kernel"]
    decoder = dict(params["decoder"])
    dim = scored.composer.stage.config.latent_dim + 1
    # The latents are the last of the condition, before motion and held notes; alone in the size of chords.
    after = 2 * notes_lib.NUM_SHARES + 1 + notes_lib.NUM_PITCHES
    decoder["place"] = decoder["place"] | {"kernel": place.at[-after - dim : -after].set(0)}
    decoder["more_place"] = decoder["more_place"] | {"kernel": decoder["more_place"]["kernel"].at[-dim:].set(0)}
    blind = dataclasses.replace(
        scored.composer, variables={"params": dict(params) | {"encoder": encoder, "decoder": decoder}}
    )
    with_latents, plain = (
        ComposerLikelihood(blind, scored.frequencies, latent_key=key).nats(scored.pieces)
        for key in (jax.random.key(0), None)
    )
    for one, other in zip(with_latents, plain, strict=True):
        assert one.kl == 0
        assert one.onsets == pytest.approx(other.onsets, rel=1e-5)
        assert one.durations == pytest.approx(other.durations, rel=1e-5)


def test_durations_are_those_of_the_target():
    """Of notes of one pitch and part that overlap the first to start is the first to end."""
    score = score_of((0, 4, 60), (1, 1, 60), (2, 1, 64), track=[0, 1, 0], channel=[0, 1, 0])
    piece = grid(score)
    notes = composer_lib._with_durations(notes_lib.read_piece(score, key_lib.estimate_tonic(score.notes)), piece)
    rows = zip(notes.step, notes.pitch, duration_classes(notes.duration), strict=True)
    assert set(rows) == set(zip(piece.step, piece.pitch, piece.duration, strict=True))
    assert np.isin(notes.duration, DURATION_STEPS).all()
