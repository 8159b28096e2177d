"""Sampling and teacher forcing are the same model: what is sampled near temperature 0 is what was likeliest."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from note_pieces import note_piece

from vae_jax.composer import crops as crops_lib
from vae_jax.composer import generate, network, notes
from vae_jax.composer.conditions import PieceConditions
from vae_jax.composer.dynamics import Dynamics
from vae_jax.composer.form import Form
from vae_jax.composer.memory import Sampled
from vae_jax.composer.network import Decoder
from vae_jax.composer.notes import MAX_GAP, MAX_TRACKS, NUM_PITCHES, NotePiece
from vae_jax.composer.requests import Request
from vae_jax.composer.sampling import Temperatures, sample_pieces
from vae_jax.representations.pianoroll.durations import DURATION_STEPS

LATENTS, MAX_NOTES, LENGTH = 2, 128, 132
NET = Decoder(8, 0.0)
LINES = np.zeros((MAX_TRACKS, 15), np.float32)
STYLE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, -0.2, 0.3, 0.1, 1.0)
CONDITIONS = PieceConditions((4, 4), 4, 0, 0, False, 100.0, 24, (), STYLE, (), (0.0,), Dynamics(0, 0, 0, (), (), ()))
BARS = np.arange(5) * 48
FORM = Form(0, 96, np.array([0, 1]), np.array([0, 0.9]))
TUNE = note_piece(
    [(0, 45, 12), (0, 25, 24), (0, 33, 12), (24, 47, 24), (24, 30, 6), (48, 48, 36), (48, 36, 12), (150, 40, 42)],
    BARS.tolist(),
    form=dataclasses.replace(FORM, back=np.zeros(2, np.int64)),
)
PICK_UP = Form(12, 72, np.array([0, 1, 1]), np.array([0, 0.9, 0.5]))
HARMONY = np.arange(16) % 7 * 2
REQUESTS = {
    "form": Request(CONDITIONS, BARS, FORM, harmony=HARMONY),
    "pick-up": Request(
        dataclasses.replace(CONDITIONS, minor=True, final=12), np.array([0, 12, 48, 84, 120, 156]), PICK_UP
    ),
    "opening": Request(CONDITIONS, BARS, FORM, opening=TUNE, opening_steps=96),
    "source": Request(
        CONDITIONS,
        BARS,
        dataclasses.replace(FORM, back=np.zeros(2, np.int64), similarity=np.full(2, 0.8)),
        source=TUNE,
        harmony=HARMONY,
    ),
}


class Played(NamedTuple):
    params: Any
    prior: np.ndarray
    sampled: Sampled[np.ndarray]


def keys_of(seed: int) -> jax.Array:
    return jax.random.split(jax.random.key(seed), len(REQUESTS))


@functools.cache
def apply_decoder() -> Any:
    return jax.jit(lambda params, *inputs: NET.apply({"params": params}, *inputs))


@pytest.fixture(scope="module")
def played() -> Played:
    """The pieces, sampled in one batch by a decoder whose output depends on all of its input."""
    crops = crops_lib.whole(TUNE, LINES)
    latents = jnp.zeros((*crops.pitch.shape, LATENTS + 1))
    shapes = jax.eval_shape(NET.init, jax.random.key(0), crops, latents)["params"]
    rng = np.random.default_rng(3)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)
    prior = rng.standard_normal((len(REQUESTS), 8, LATENTS)).astype(np.float32)
    cold = Temperatures(*map(jnp.float32, (1e-4, 1e-4, 1e-4, 1, 1, 1, 0, 0)))
    frame = jax.tree.map(jnp.asarray, generate.make_frame(list(REQUESTS.values()), prior))
    return Played(params, prior, jax.device_get(sample_pieces(NET, params, frame, cold, keys_of(5), MAX_NOTES)))


def piece_of(played: Played, name: str) -> NotePiece:
    n, request = list(REQUESTS).index(name), REQUESTS[name]
    count = int(played.sampled.num_notes[n])
    step, pitch, duration = (np.asarray(column[n, :count], np.int64) for column in played.sampled[:3])
    start = 0 if request.source is None else request.source.end
    return dataclasses.replace(
        request.piece(), step=step - start, pitch=pitch, duration=DURATION_STEPS[duration], tracks=np.zeros_like(step)
    )


def with_source(features: dict[str, np.ndarray], piece: NotePiece, source: NotePiece) -> dict[str, np.ndarray]:
    """The features of a piece whose phrases repeat a source at the same steps: that of both after each other."""
    both = crops_lib.make_features(notes.join(source, piece))
    later = len(source.step) + np.arange(2, len(piece.step) + 2)
    features = {name: values.copy() for name, values in features.items()}
    for name in ("aligned", "aligned_role", "aligned_duration", "aligned_size", "onsets"):
        features[name][2:-1, -1] = both[name][later, -1]
    # The first tokens know what the source starts with.
    first = np.flatnonzero(source.step == 0)
    features["aligned"][:2, -1] = np.packbits(np.isin(np.arange(NUM_PITCHES), source.pitch[first]), bitorder="little")
    features["aligned_role"][:2, -1], features["aligned_size"][:2, -1] = source.pitch[first[0]], len(first)
    features["onsets"][:2, -1] = np.packbits(np.isin(np.arange(MAX_GAP + 1), source.step), bitorder="little")
    similarity = piece.form.similarity_at(features["step"])
    features["plan"] = notes.plan_features(similarity, np.ones(len(similarity), bool)).astype(np.float16)
    return features


@pytest.mark.parametrize("name", REQUESTS)
def test_what_was_sampled_was_likeliest(played, name, monkeypatch):
    monkeypatch.setattr(  # How much less likely than the likeliest, instead of how unlikely.
        network, "_nats", lambda logs, index: logs.max(axis=-1) - (logs * network.hot(index, logs.shape[-1])).sum(-1)
    )
    piece, n = piece_of(played, name), list(REQUESTS).index(name)
    assert 0 < len(piece.step) < MAX_NOTES, "the piece ends by itself"
    features = crops_lib.make_features(piece)
    if REQUESTS[name].source is not None:
        features = with_source(features, piece, TUNE)
    crop = crops_lib.crop(features, piece, LINES, LENGTH, 1, 8)
    crop = crop._replace(style=np.array([STYLE], np.float32))
    latents = np.concatenate([played.prior[n][crop.phrase[0]], np.ones((LENGTH, 1), np.float32)], axis=-1)[None]
    found = apply_decoder()(played.params, jax.tree.map(jnp.asarray, crop), jnp.asarray(latents))
    found = {key: np.asarray(values[0]) for key, values in found.items()}
    given = np.count_nonzero(TUNE.step < 96) if name == "opening" else 0
    first = 1 + given  # Nats [k] are those of token k + 1, and two tokens come before the first note.
    assert found["more"][first + (given > 0) :].max() < np.log(2) + 1e-3
    for key in ("gap", "pitch", "duration"):
        assert np.abs(found[key][first if given else 0 :]).max() < 1e-2, key


@pytest.mark.parametrize("name", REQUESTS)
def test_notes_come_in_order_and_the_last_where_it_is_planned(played, name):
    piece = piece_of(played, name)
    assert notes.in_order(piece.step, piece.pitch)[0].tolist() == list(range(len(piece.step)))
    assert len(set(zip(piece.step.tolist(), piece.pitch.tolist(), strict=True))) == len(piece.step)
    assert piece.last == REQUESTS[name].last


def test_an_opening_is_kept_and_nothing_added(played):
    piece = piece_of(played, "opening")
    kept = piece.step < 96
    given = TUNE.step < 96
    for name in ("step", "pitch", "duration"):
        assert np.array_equal(getattr(piece, name)[kept], getattr(TUNE, name)[given])
    assert not kept.all()


def test_latents_and_the_key_matter(played):
    frame = jax.tree.map(jnp.asarray, generate.make_frame(list(REQUESTS.values()), played.prior[:, ::-1]))
    warm = Temperatures(*map(jnp.float32, (1e-4, 1e-4, 1e-4, 1, 1, 1, 0, 0)))
    other = sample_pieces(NET, played.params, frame, warm, keys_of(5), MAX_NOTES)
    assert not np.array_equal(other.pitch, played.sampled.pitch)
    hot = Temperatures(*map(jnp.float32, (1, 1, 1, 1, 1, 1, 0, 0)))
    pitches = [
        np.asarray(sample_pieces(NET, played.params, frame, hot, keys_of(seed), MAX_NOTES).pitch) for seed in (1, 1, 2)
    ]
    assert np.array_equal(pitches[0], pitches[1]) and not np.array_equal(pitches[0], pitches[2])
    keys = keys_of(1).at[-1].set(jax.random.key(9))
    changed = np.asarray(sample_pieces(NET, played.params, frame, hot, keys, MAX_NOTES).pitch) != pitches[0]
    assert changed[-1].any() and not changed[:-1].any(), "every piece has a key of its own"


def test_phrases_that_return_closely_have_a_temperature_of_their_own(played):
    frame = jax.tree.map(jnp.asarray, generate.make_frame(list(REQUESTS.values()), played.prior))
    returns = Temperatures(*map(jnp.float32, (1, 1, 1, 1, 1, 1e-4, 0, 0)))

    def sample(plan: jax.Array, seed: int) -> np.ndarray:
        there = frame._replace(plan=plan)
        return np.asarray(sample_pieces(NET, played.params, there, returns, keys_of(seed), MAX_NOTES).pitch)

    everywhere = jnp.ones_like(frame.plan)
    assert np.array_equal(sample(everywhere, 1), sample(everywhere, 2))
    nowhere = everywhere.at[..., notes.NEARLY_EQUAL].set(0)
    assert not np.array_equal(sample(nowhere, 1), sample(nowhere, 2))
