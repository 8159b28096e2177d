"""The composer's training examples: every window of a piece, with the windows that condition it.

A piece gives one example for every beat from its first downbeat on: the window that starts there as an onset list, the
latents of the window before it, and those of the most similar earlier window at the same position in the bar, with
their similarity (F1 of the onset cells).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse

from vae_jax.composer import conditioning, onset_encoding
from vae_jax.composer.conditioning import Style
from vae_jax.composer.network import NO_LINK
from vae_jax.composer.onset_encoding import OnsetShape
from vae_jax.music import quantization
from vae_jax.music.instruments import DRUMS
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.base import Arrays
from vae_jax.representations.pianoroll.encoding import PART, RollPiece
from vae_jax.representations.pianoroll.representation import RollRepresentation

_MAX_WINDOWS = 1024  # Of one piece: the similarity of every pair is computed.
_KEEP_DRUMS = 0.7


def make_examples(
    pieces: Sequence[RollPiece],
    styles: Sequence[Style],
    representation: RollRepresentation,
    encode: Callable[[Arrays], np.ndarray],
    drum_pitches: np.ndarray,
    shape: OnsetShape,
) -> dict[str, np.ndarray]:
    """Makes the examples of pieces with their styles; `encode` maps compact windows to latents [W, Z].

    Returns:
      The fields of `OnsetLists` and the conditions: "previous" and "link" float16 [N, Z], "similarity" float32 [N]
      (NO_LINK where there is no link), "place" int16 [N, 4] and "style" float32 [N, STYLE_SIZE].
    """
    windows, examples = [], []
    for piece, style in zip(pieces, styles, strict=True):
        steps_per_beat, length = piece.config.steps_per_beat, piece.config.window_steps
        first, end = quantization.first_downbeat(piece.bars), int(piece.bars[-1])
        starts = np.arange(first - length, end, steps_per_beat)[:_MAX_WINDOWS]
        arrays = representation.encode_at(piece, starts)
        windows.append(arrays)
        bar = np.clip(np.searchsorted(piece.bars, starts, side="right") - 1, 0, len(piece.bars) - 2)
        since_bar, bar_steps = starts - piece.bars[bar], np.diff(piece.bars)[bar]
        own = np.arange(length // steps_per_beat, len(starts))  # The windows from the first downbeat on.
        position = np.where(starts >= first, since_bar * (bar_steps.max(initial=0) + 1) + bar_steps, -1)
        link, similarity = most_similar(piece, starts, position)
        lists = onset_encoding.from_windows(arrays["notes"][own], arrays["mask"][own], drum_pitches, shape)
        place = conditioning.encode_place(since_bar, bar_steps, end - starts, starts - first, steps_per_beat)
        examples.append(
            lists._asdict()
            | {
                "previous": own - length // steps_per_beat,
                "link": link[own],
                "similarity": np.where(link[own] >= 0, similarity[own], NO_LINK).astype(np.float32),
                "place": place[own],
                "style": np.tile(style.vector(), (len(own), 1)),
            }
        )
    # All windows of all pieces at once: the encoder works in batches of one size.
    latents = encode(arrays_lib.concatenate(windows)).astype(np.float16)
    ends = np.cumsum([arrays_lib.num_examples(arrays) for arrays in windows])
    for z, rows in zip(np.split(latents, ends[:-1]), examples, strict=True):
        is_linked = rows["link"] >= 0
        rows["previous"], rows["link"] = z[rows["previous"]], z[rows["link"]] * is_linked[:, None]
    return arrays_lib.concatenate(examples)


def most_similar(piece: RollPiece, starts: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the most similar earlier window of each, for windows that start at ascending steps [W].

    Only windows of the same position [W] are compared.

    Returns:
      Its index, int64 [W], -1 where no earlier window ends before this one starts or none shares a note; and the F1 of
      their onset cells, float32 [W], 0 there.
    """
    length, num_pitches = piece.config.window_steps, piece.config.num_pitches
    cells = conditioning.onset_cells(piece)
    spans = np.searchsorted(cells, np.stack([starts, starts + length], axis=1) * num_pitches)
    columns = [cells[begin:end] - start * num_pitches for (begin, end), start in zip(spans, starts, strict=True)]
    indices = np.concatenate([np.zeros(0, np.int64), *columns])
    pointers = np.concatenate([[0], np.cumsum(spans[:, 1] - spans[:, 0])])
    played = scipy.sparse.csr_matrix(
        (np.ones(len(indices), np.float32), indices, pointers), shape=(len(starts), length * num_pitches)
    )
    counts = np.asarray(played.sum(axis=1)).ravel()
    similarity = 2 * (played @ played.T).toarray() / np.maximum(counts[:, None] + counts, 1)
    is_allowed = (starts + length <= starts[:, None]) & (position == position[:, None])
    similarity = np.where(is_allowed, similarity, 0.0)
    best = similarity.max(axis=1, initial=0.0)
    link = np.where(best > 0, similarity.argmax(axis=1) if len(starts) else 0, -1)
    return link, best.astype(np.float32)


def drop_parts(piece: RollPiece, rng: np.random.Generator) -> RollPiece:
    """Returns the piece with a random selection of its pitched parts, at least one, and usually its drums."""
    present = np.flatnonzero(piece.parts_present)
    pitched = present[present != DRUMS]
    if not len(pitched):
        return piece
    kept = rng.choice(pitched, size=rng.integers(1, len(pitched) + 1), replace=False)
    keep_drums = rng.random() < _KEEP_DRUMS
    is_kept = np.isin(piece.notes[:, PART], kept) | (keep_drums & (piece.notes[:, PART] == DRUMS))
    return dataclasses.replace(piece, notes=piece.notes[is_kept])
