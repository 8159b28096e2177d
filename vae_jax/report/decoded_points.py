"""Decoded points between pieces: interpolations of held-out pieces, and a grid over the map of latents."""

import itertools
from collections.abc import Sequence

import numpy as np

from vae_jax.models.inference import Inference
from vae_jax.models.latents import interpolate
from vae_jax.report.latent_map import LatentMap, map_latents
from vae_jax.report.pieces import ReportPiece, RunRecord, pack_music
from vae_jax.runtime.files import Json

_NUM_PAIRS, _NUM_STEPS, _INTERPOLATED_EXAMPLES = 3, 9, 32
_GRID_SIDE, _GRID_EXAMPLES, _NUM_NEIGHBOURS = 8, 16, 3


def map_run(run: RunRecord, num_pieces: int) -> LatentMap | None:
    """Maps the pieces by the mean of their posterior means; None where not every piece has latents."""
    counts = np.bincount(run.latents["piece"], minlength=num_pieces) if run.latents else np.zeros(0)
    if len(counts) != num_pieces or not np.all(counts):
        return None
    means = np.zeros((num_pieces, run.latents["mean"].shape[1]))
    np.add.at(means, run.latents["piece"], run.latents["mean"])
    return map_latents(means / counts[:, None], run.config["seed"])


def interpolations(inference: Inference | None, pieces: Sequence[ReportPiece]) -> list[Json]:
    """Interpolates between pairs of pieces, held-out ones where there are two, of one meter where possible."""
    if inference is None:
        return []
    packed = []
    for start, end in _pairs(pieces):
        ends = start.music["original"], end.music["original"]
        steps = [pack_music(score) for score in interpolate(inference, *ends, _NUM_STEPS, _INTERPOLATED_EXAMPLES)]
        packed.append({"start": start.name, "end": end.name, "steps": steps})
    return packed


def grid(inference: Inference | None, run: RunRecord, latent_map: LatentMap | None) -> Json | None:
    """Decodes points of a grid over the map, row by row from its lower left.

    Where the map is the latent space itself, with one example per piece, a point is decoded as it is. Elsewhere its
    latents are the mean of those of the nearest pieces, one by one, weighted by the inverse squared distance and
    scaled to the mean of their norms, because the norm of an average is smaller.
    """
    if inference is None or latent_map is None or len(latent_map.points) < 2:
        return None
    points = latent_map.points
    axes = [np.linspace(column.min(), column.max(), _GRID_SIDE) for column in points.T]
    if len(axes) < 2:
        axes.append(np.zeros(1))
    cells = [np.array([x, y]) for y, x in itertools.product(axes[1], axes[0])]
    piece, mean = run.latents["piece"], run.latents["mean"]
    is_latent_space = mean.shape[1] == 2 and len(piece) == len(points)
    examples = [mean[piece == n] for n in range(len(points))]
    rows, latents = [], []
    for cell in cells:
        distance = np.linalg.norm(points - cell[: points.shape[1]], axis=1)
        index = np.argsort(distance, kind="stable")[:_NUM_NEIGHBOURS]
        weights = 1 / np.maximum(distance[index], 1e-9) ** 2
        weights /= weights.sum()
        latents.append(cell[None] if is_latent_space else _blend([examples[n] for n in index], weights))
        near = [[int(n), round(float(weight), 3)] for n, weight in zip(index, weights, strict=True)]
        rows.append({"point": [round(float(value), 5) for value in cell], "near": near})
    for row, score in zip(rows, inference.decode_scores(latents), strict=True):
        row["music"] = pack_music(score)
    return {"columns": len(axes[0]), "is_latent_space": is_latent_space, "cells": rows}


def _pairs(pieces: Sequence[ReportPiece]) -> list[tuple[ReportPiece, ReportPiece]]:
    with_notes = [piece for piece in pieces if "original" in piece.music and len(piece.music["original"].notes)]
    held_out = [piece for piece in with_notes if piece.is_held_out]
    chosen = held_out if len(held_out) >= 2 else with_notes
    pairs: list[tuple[ReportPiece, ReportPiece]] = []
    for meter in dict.fromkeys(piece.file.get("meter") for piece in chosen):
        same = [piece for piece in chosen if piece.file.get("meter") == meter]
        pairs += zip(same[: len(same) // 2], same[len(same) // 2 :], strict=False)
    return (pairs or list(itertools.pairwise(chosen)))[:_NUM_PAIRS]


def _blend(pieces: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Averages the latents of the first examples, each [W, Z], without the very first, often a pick-up, if possible."""
    first = [mean[1:] if len(mean) > _GRID_EXAMPLES else mean for mean in pieces]
    count = min(_GRID_EXAMPLES, *(len(mean) for mean in first))
    stacked = np.stack([mean[:count] for mean in first])
    blended = np.einsum("k,kwz->wz", weights, stacked)
    norm = np.einsum("k,kw->w", weights, np.linalg.norm(stacked, axis=-1))
    return blended * (norm / np.maximum(np.linalg.norm(blended, axis=-1), 1e-9))[:, None]
