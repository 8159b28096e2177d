"""Targets of likelihoods on tiny grids, written down note by note."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from vae_jax.evaluation.likelihood.target import GridPiece
from vae_jax.music.score import make_notes, make_score

Note = tuple[int, int, int, int]  # Step, pitch, duration class, bits of the parts.


def grid_piece(
    num_steps: int,
    notes: Sequence[Note] = (),
    drums: Sequence[tuple[int, int]] = (),
    *,
    num_pitches: int = 2,
    steps_per_beat: int = 1,
    bar_steps: int = 4,
) -> GridPiece:
    """A piece on a grid as small as one likes; drums are (step, pitch)."""
    config = SimpleNamespace(steps_per_beat=steps_per_beat, num_pitches=num_pitches)
    bars = np.append(np.arange(0, num_steps, bar_steps), num_steps)
    roll: Any = SimpleNamespace(num_steps=num_steps, bars=bars, config=config)
    ordered = sorted(notes, key=lambda note: (note[0], -note[1]))
    hits = sorted(drums, key=lambda hit: (hit[0], -hit[1]))
    columns = np.array(ordered, np.int64).reshape(-1, 4).T
    return GridPiece(
        roll, make_score(480, make_notes([], [], [])), *columns, *np.array(hits, np.int64).reshape(-1, 2).T
    )


def all_cells(num_steps: int, num_pitches: int) -> Iterator[list[tuple[int, int]]]:
    """Every set of cells."""
    cells = list(itertools.product(range(num_steps), range(num_pitches)))
    for mask in itertools.product((False, True), repeat=len(cells)):
        yield list(itertools.compress(cells, mask))


def random_pieces(count: int, seed: int, num_steps: int = 24, num_pitches: int = 5) -> list[GridPiece]:
    """Pieces with notes and drums at random, some bars repeated."""
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(count):
        bar = rng.random((2, 4, num_pitches)) < 0.3
        cells = np.tile(bar, (1, num_steps // 4, 1)) ^ (rng.random((2, num_steps, num_pitches)) < 0.1)
        notes = [(t, p, int(rng.integers(26)), int(rng.integers(1, 128))) for t, p in np.argwhere(cells[0]).tolist()]
        drums = [(t, p) for t, p in np.argwhere(cells[1]).tolist()]
        pieces.append(grid_piece(num_steps, notes, drums, num_pitches=num_pitches, steps_per_beat=2))
    return pieces
