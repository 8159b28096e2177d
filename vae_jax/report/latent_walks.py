"""What the model plays between tunes: interpolations of held-out pieces, and a grid over the map of latents."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from vae_jax.models.inference import Inference
from vae_jax.models.latents import interpolate
from vae_jax.report.latent_map import LatentMap, map_latents
from vae_jax.report.packing import pack_music
from vae_jax.report.pieces import Piece, Shelf
from vae_jax.report.run_record import Record

_NUM_PAIRS, _NUM_STEPS, _INTERPOLATED_WINDOWS = 3, 9, 4
_GRID_SIDE, _GRID_WINDOWS, _NUM_NEIGHBOURS = 8, 2, 3


def map_run(run: Record, num_pieces: int) -> LatentMap | None:
    """Maps the pieces by the mean of their windows' posterior means; None where the latents do not tell of each."""
    counts = np.bincount(run.latents["piece"], minlength=num_pieces) if run.latents else np.zeros(0)
    if len(counts) != num_pieces or not np.all(counts):
        return None
    means = np.zeros((num_pieces, run.latents["mean"].shape[1]))
    np.add.at(means, run.latents["piece"], run.latents["mean"])
    return map_latents(means / counts[:, None], run.config["seed"])


def interpolations(inference: Inference | None, shelf: Shelf) -> list[dict[str, Any]]:
    """Decodes the ways between pairs of pieces, held-out ones where there are two; of one meter where that can be."""
    if inference is None:
        return []
    ways = []
    for start, end in _pairs(shelf.pieces):
        assert start.original is not None and end.original is not None
        scores = interpolate(inference, start.original, end.original, _NUM_STEPS, _INTERPOLATED_WINDOWS)
        steps = [pack_music(score) for score in scores]
        ways.append({"start": start.name, "end": end.name, "steps": steps})
    return ways


def grid(inference: Inference | None, run: Record, latent_map: LatentMap | None) -> dict[str, Any] | None:
    """Decodes points between the tunes of the map, row by row from its lower left.

    Where the map is the latent space itself, with one example a piece, a point is decoded as it is. Elsewhere the
    latents of a point are the mean of those of its nearest tunes, window by window, weighted by the inverse square of
    their distances, and brought to the mean of their lengths: an average would come out short.
    """
    if inference is None or latent_map is None or len(latent_map.points) < 2:
        return None
    points = latent_map.points
    low, high = points.min(axis=0), points.max(axis=0)
    axes = [np.linspace(start, end, _GRID_SIDE) for start, end in zip(low, high, strict=True)]
    if len(axes) < 2:
        axes.append(np.zeros(1))
    places = [np.array([x, y]) for y, x in itertools.product(axes[1], axes[0])]
    piece = run.latents["piece"]
    is_latent_space = run.latents["mean"].shape[1] == 2 and len(piece) == len(points)
    windows = [run.latents["mean"][piece == n] for n in range(len(points))]
    near = [_nearest(points, place) for place in places]
    latents = [
        place[None] if is_latent_space else _blend([windows[n] for n in index], weights)
        for place, (index, weights) in zip(places, near, strict=True)
    ]
    return {
        "columns": len(axes[0]),
        "is_latent_space": is_latent_space,
        "cells": [
            {
                "point": [round(float(value), 5) for value in place],
                "near": [[int(n), round(float(weight), 3)] for n, weight in zip(index, weights, strict=True)],
                "music": pack_music(score),
            }
            for place, (index, weights), score in zip(places, near, inference.decode_scores(latents), strict=True)
        ],
    }


def _pairs(pieces: Sequence[Piece]) -> list[tuple[Piece, Piece]]:
    known = [piece for piece in pieces if piece.original is not None and len(piece.original.notes)]
    held_out = [piece for piece in known if piece.is_held_out]
    chosen = held_out if len(held_out) >= 2 else known
    by_meter: dict[str | None, list[Piece]] = {}
    for piece in chosen:
        by_meter.setdefault(piece.meter, []).append(piece)
    pairs = [
        pair for same in by_meter.values() for pair in zip(same[: len(same) // 2], same[len(same) // 2 :], strict=False)
    ]
    return (pairs or list(itertools.pairwise(chosen)))[:_NUM_PAIRS]


def _nearest(points: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distance = np.linalg.norm(points - place[: points.shape[1]], axis=1)
    near = np.argsort(distance, kind="stable")[:_NUM_NEIGHBOURS]
    weights = 1 / np.maximum(distance[near], 1e-9) ** 2
    return near, weights / weights.sum()


def _blend(pieces: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Blends the latents of the first windows, each [W, Z]; the very first, often a pick-up, where there are enough."""
    first = [mean[1:] if len(mean) > _GRID_WINDOWS else mean for mean in pieces]
    count = min(_GRID_WINDOWS, *(len(mean) for mean in first))
    stacked = np.stack([mean[:count] for mean in first])
    blended = np.einsum("k,kwz->wz", weights, stacked)
    length = np.einsum("k,kw->w", weights, np.linalg.norm(stacked, axis=-1))
    return blended * (length / np.maximum(np.linalg.norm(blended, axis=-1), 1e-9))[:, None]
