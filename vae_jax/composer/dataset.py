"""The composer's training examples: every window of a piece, with the windows that condition it.

A piece gives one example for every beat from its first downbeat on: the window that starts there as an onset list, the
latents of the window before it, and those of the most similar earlier window at the same position in the bar, with
their similarity (F1 of the onset cells).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.composer import conditioning, onset_encoding
from vae_jax.composer.conditioning import Style
from vae_jax.composer.network import NO_LINK, LatentConditions
from vae_jax.composer.onset_encoding import OnsetLists, OnsetShape
from vae_jax.composer.windows import NoteLists, WindowedRoll
from vae_jax.music.instruments import DRUMS
from vae_jax.music.quantization import first_downbeat
from vae_jax.representations import arrays
from vae_jax.representations.pianoroll.config import PART
from vae_jax.representations.pianoroll.encoding import RollPiece

_MAX_WINDOWS = 1024  # Of one piece: the similarity of every pair is computed.
_KEEP_DRUMS = 0.7


class ComposerExamples(NamedTuple):
    """N windows to learn; latents are float16, similarities float32, places int16 and styles float32."""

    onsets: OnsetLists
    conditions: LatentConditions


def make_examples(
    pieces: Sequence[RollPiece],
    styles: Sequence[Style],
    representation: WindowedRoll,
    encode: Callable[[NoteLists], np.ndarray],
    drum_pitches: np.ndarray,
    shape: OnsetShape,
) -> ComposerExamples:
    """Makes the examples of pieces with their styles; `encode` maps windows to latents [W, Z]."""
    all_windows, examples = [], []
    for piece, style in zip(pieces, styles, strict=True):
        steps_per_beat, window_beats = representation.steps_per_beat, representation.window_beats
        first, end = first_downbeat(piece.bars), int(piece.bars[-1])
        starts = _window_starts(piece, window_beats)
        windows = representation.encode_at(piece, starts)
        all_windows.append(windows)
        bar = np.clip(np.searchsorted(piece.bars, starts, side="right") - 1, 0, len(piece.bars) - 2)
        since_bar, bar_steps = starts - piece.bars[bar], np.diff(piece.bars)[bar]
        own = np.arange(window_beats, len(starts))  # The windows from the first downbeat on.
        position = np.where(starts >= first, since_bar * (bar_steps.max(initial=0) + 1) + bar_steps, -1)
        link, similarity = most_similar(representation, windows, starts, position)
        conditions = LatentConditions(
            previous=own - window_beats,
            link=link[own],
            similarity=np.where(link[own] >= 0, similarity[own], NO_LINK).astype(np.float32),
            place=conditioning.encode_place(since_bar, bar_steps, end - starts, starts - first, steps_per_beat)[own],
            style=np.tile(style.vector(), (len(own), 1)),
        )
        onsets = onset_encoding.from_windows(arrays.take(windows, own), drum_pitches, shape)
        examples.append(ComposerExamples(onsets, conditions))
    # All windows of all pieces at once: the encoder works in batches of one size.
    latents = encode(arrays.concatenate(all_windows)).astype(np.float16)
    ends = np.cumsum([arrays.num_examples(windows) for windows in all_windows])
    for n, z in enumerate(np.split(latents, ends[:-1])):
        conditions = examples[n].conditions
        link = z[conditions.link] * (conditions.link >= 0)[:, None]
        examples[n] = examples[n]._replace(conditions=conditions._replace(previous=z[conditions.previous], link=link))
    return arrays.concatenate(examples)


def example_starts(piece: RollPiece, window_beats: int) -> np.ndarray:
    """Returns the step at which the window of each example of a piece starts, int64 [N]."""
    return _window_starts(piece, window_beats)[window_beats:]


def _window_starts(piece: RollPiece, window_beats: int) -> np.ndarray:
    """Every beat from a window before the first downbeat on."""
    first = first_downbeat(piece.bars) - window_beats * piece.config.steps_per_beat
    return np.arange(first, int(piece.bars[-1]), piece.config.steps_per_beat)[:_MAX_WINDOWS]


def most_similar(
    representation: WindowedRoll, windows: NoteLists, starts: np.ndarray, position: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the most similar earlier one of each of the windows of a piece, which start at ascending steps [W].

    Only windows of the same position [W] are compared.

    Returns:
      Its index, int64 [W], -1 where no earlier window ends before this one starts or none shares a note; and the F1 of
      their onset cells, float32 [W], 0 there.
    """
    played = representation.window_cells(windows).astype(np.float32)
    counts = np.asarray(played.sum(axis=1)).ravel()
    similarity = 2 * (played @ played.T).toarray() / np.maximum(counts[:, None] + counts, 1)
    is_allowed = (starts + representation.window_steps <= starts[:, None]) & (position == position[:, None])
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
