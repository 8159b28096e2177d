"""The decoder is a distribution over the continuations of a piece, and sees nothing that comes later."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from note_pieces import CHORDS, NoteRow, no_form, note_piece

from vae_jax.composer import crops as crops_lib
from vae_jax.composer.encoder import PhraseEncoder
from vae_jax.composer.harmony import UNKNOWN
from vae_jax.composer.network import Decoder, limits
from vae_jax.composer.notes import MAX_TRACKS, NUM_PITCHES, NotePiece
from vae_jax.representations import arrays
from vae_jax.representations.pianoroll.durations import DURATION_STEPS

BATCH, LENGTH, LATENTS = 96, 16, 3
Nats = dict[str, np.ndarray]


def crop_of(piece: NotePiece) -> crops_lib.Crops[np.ndarray]:
    """The piece as 16 tokens, in a style that its notes do not change."""
    piece = dataclasses.replace(piece, harmony=np.full_like(piece.harmony, UNKNOWN))  # It would tell the notes.
    crop = crops_lib.whole(piece, np.zeros((MAX_TRACKS, 15), np.float32), round_to=LENGTH)
    return crop._replace(style=np.ones_like(crop.style))


@pytest.fixture(scope="module")
def nats_of() -> Callable[[Sequence[NotePiece]], Nats]:
    """Nats of pieces by a decoder whose output depends on all of its input."""
    net = Decoder(8, 0.0)
    crops = crop_of(note_piece(CHORDS))
    latents = jnp.ones((BATCH, LENGTH, LATENTS), jnp.float32)
    shapes = jax.eval_shape(net.init, jax.random.key(0), crops, latents[:1])["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32), shapes)
    apply = jax.jit(net.apply)

    def nats(pieces: Sequence[NotePiece]) -> Nats:
        batch = arrays.concatenate([crop_of(piece) for piece in pieces])
        rows = np.minimum(np.arange(BATCH), len(pieces) - 1)
        found = apply({"params": params}, jax.tree.map(jnp.asarray, arrays.take(batch, rows)), latents)
        return {name: np.asarray(values)[: len(pieces)] for name, values in found.items()}

    return nats


OPENING = ((0, 40, 12), (0, 20, 24), (12, 42, 12), (12, 30, 6))
piece = functools.partial(note_piece, form=no_form())
TOKENS_BEFORE = 2 + len(OPENING) - 1  # Nats [k] are those of token k + 1.


def total(nats: np.ndarray) -> float:
    return float(np.exp(-nats.astype(np.float64)).sum())


@pytest.mark.parametrize(
    ("rest", "possible"),
    [
        ((), range(NUM_PITCHES)),  # A soprano.
        (((24, 50, 12),), range(50)),  # A bass below it.
        (((24, 50, 12), (24, 30, 12)), range(31, 50)),  # An inner voice.
        (((24, 50, 12), (24, 30, 12), (24, 41, 12)), range(31, 41)),  # And the next below it.
    ],
)
def test_the_pitches_of_a_note_sum_to_one(nats_of, rest, possible):
    found = nats_of([piece([*OPENING, *rest, (24, pitch, 12)]) for pitch in possible])
    assert total(found["pitch"][:, TOKENS_BEFORE + len(rest)]) == pytest.approx(1, abs=1e-4)


def test_a_chord_is_full_where_no_pitch_is_left():
    references = jnp.array([[84, 30, 31, 29, 84, 84, 84]])
    low, high, is_full = limits(jnp.array([30]), jnp.array([2]), references)
    assert (low.tolist(), high.tolist(), is_full.tolist()) == ([29], [31], [True])


def test_the_durations_of_a_note_sum_to_one(nats_of):
    found = nats_of([piece([*OPENING, (24, 50, int(steps))], range(0, 3073, 48)) for steps in DURATION_STEPS])
    assert total(found["duration"][:, TOKENS_BEFORE]) == pytest.approx(1, abs=1e-4)


def test_the_times_of_the_next_chord_sum_to_one(nats_of):
    """The last chord, which is planned, comes at step 70."""
    last = (70, 45, 12)
    found = nats_of([piece([*OPENING, (step, 50, 12), last]) for step in range(13, 70)] + [piece([*OPENING, last])])
    assert total(found["gap"][:, 3]) == pytest.approx(1, abs=1e-4)  # Of the chord at step 12, with its first note.
    assert not found["gap"][:, 4].any(), "the second note of a chord has no time of its own"


def test_the_first_chord_may_start_at_once_or_later(nats_of):
    last = (70, 45, 12)
    found = nats_of([piece([(step, 50, 12), last]) for step in range(70)] + [piece([last])])
    assert total(found["gap"][:, 0]) == pytest.approx(1, abs=1e-4)


def test_a_chord_goes_on_or_not(nats_of):
    rest = (24, 50, 12), (36, 50, 12)
    more, less = nats_of([piece([*OPENING, (12, 35, 12), *rest]), piece([*OPENING, *rest])])["more"]
    assert np.exp(-more[5]) + np.exp(-less[5]) == pytest.approx(1, abs=1e-4)
    assert more[5] != pytest.approx(less[5], abs=1e-3)


def test_nothing_looks_ahead(nats_of):
    """Later notes, at the same steps, change no earlier nats."""
    tails: list[list[NoteRow]] = [
        [(24, 50, 12), (24, 30, 12), (36, 52, 24), (48, 40, 12)],
        [(24, 41, 36), (36, 60, 6), (36, 33, 6), (36, 40, 6), (48, 20, 12)],
    ]
    one, other = (jax.tree.map(lambda x, n=n: x[n], nats_of([piece([*OPENING, *t]) for t in tails])) for n in (0, 1))
    for name in one:
        assert np.array_equal(one[name][:TOKENS_BEFORE], other[name][:TOKENS_BEFORE]), name
    assert one["gap"][TOKENS_BEFORE] == other["gap"][TOKENS_BEFORE] != 0
    assert all(one[name][TOKENS_BEFORE] != other[name][TOKENS_BEFORE] for name in ("pitch", "duration"))


def test_padding_costs_nothing(nats_of):
    found = nats_of([piece(OPENING)])
    end = 2 + len(OPENING)  # The token that ends the piece.
    for name, nats in found.items():
        assert not nats[0, end:].any(), name
    assert found["more"][0, end - 1] > 0, "that the last chord has no further note costs something"
    assert not any(found[name][0, end - 1] for name in ("gap", "pitch", "duration"))


def test_notes_that_are_played_again_are_known(nats_of):
    """The nats of the second bar depend on the first through the form alone, where all else is alike."""
    notes = [(12 * n, 40 + n % 4, 12) for n in range(12)]
    form = dataclasses.replace(no_form(bar=24), back=np.array([0, 1, 1]), similarity=np.array([0.0, 1.0, 1.0]))
    told, untold = (piece(notes, range(0, 145, 24), bar=24, form=one) for one in (form, no_form(bar=24)))
    found = nats_of([told, untold])
    changed = found["pitch"][0] != found["pitch"][1]
    assert not changed[:5].any() and changed[5:13].all()


def test_phrases_without_notes_have_the_latents_of_the_prior():
    crops = crop_of(note_piece([(0, 40, 12), (100, 40, 12)], range(0, 385, 48)))
    net = PhraseEncoder(8, LATENTS)
    apply = jax.jit(lambda crops: net.init_with_output(jax.random.key(0), crops, 4)[0])
    mean, log_variance = apply(jax.tree.map(jnp.asarray, crops))
    assert mean.shape == (1, 4, LATENTS)
    assert mean[0, :2].all() and not mean[0, 2:].any() and not log_variance[0, 2:].any()
