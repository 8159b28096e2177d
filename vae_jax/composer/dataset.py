"""What the composer learns from: every window of a piece, with what it continues and the window that it returns to.

A piece gives one example for every beat from its first downbeat on: the window that starts there as an onset list, the
latents of the window before it, and those of the earlier window at the same place in the bar that it resembles most,
with how much (F1 of the onset cells).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse

from vae_jax.composer import onset_encoding
from vae_jax.composer.network import NO_LINK, PLACE_SIZES, STYLE_SIZE
from vae_jax.composer.onset_encoding import OnsetShape
from vae_jax.music import instruments, key
from vae_jax.music import quantization as grid_lib
from vae_jax.music.score import Score
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.pianoroll.encoding import DURATION, PART, PITCH, STEP, RollPiece
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.representations.pianoroll.windows import NoteLists

Encode = Callable[[NoteLists], np.ndarray]

_MAX_WINDOWS = 1024  # Of one piece; the similarity of all to all is looked at.
_HALF_WINDOW_BEATS = 4
_KEEP_DRUMS = 0.7
_MIDDLE_PITCH = 60.0


@dataclasses.dataclass(frozen=True)
class Style:
    """What stays the same through a piece; a pitch that several parts start together counts once, but for `shares`.

    Attributes:
      shares: of all notes, drums too, that each part plays, NUM_PARTS of them.
      minor: the mode.
      density: pitches a beat.
      chord_size, chord_deviation: mean and standard deviation of the pitches that start together.
      register: mean pitch of the roll.
      length: geometric mean of how long notes last, in beats.
    """

    shares: tuple[float, ...]
    minor: bool
    density: float
    chord_size: float
    chord_deviation: float
    register: float
    length: float

    def vector(self) -> np.ndarray:
        """The style as the composer reads it, float32 [STYLE_SIZE]: the scaled values are about -1 to 1."""
        scaled = (
            float(self.minor),
            np.log(max(self.density, 0.5)) - 1.2,
            self.chord_size / 3 - 1,
            self.chord_deviation - 1,
            (self.register - _MIDDLE_PITCH) / 12,
            np.log2(max(self.length, 1 / 16)),
        )
        vector = np.array([*np.sqrt(self.shares), *scaled], dtype=np.float32)
        assert vector.shape == (STYLE_SIZE,)
        return vector


def describe_style(piece: RollPiece, minor: bool) -> Style:
    """Measures the style of a piece."""
    counts = np.bincount(piece.notes[:, PART], minlength=instruments.NUM_PARTS)
    pitched = piece.notes[piece.notes[:, PART] != instruments.DRUMS]
    cells = np.unique(pitched[:, STEP].astype(np.int64) * piece.config.num_pitches + pitched[:, PITCH])
    steps, pitches = np.divmod(cells, piece.config.num_pitches)
    chords = np.unique(steps, return_counts=True)[1] if len(cells) else np.zeros(1)
    beats = pitched[:, DURATION] / piece.config.steps_per_beat
    return Style(
        shares=tuple((counts / max(int(counts.sum()), 1)).round(4).tolist()),
        minor=minor,
        density=len(cells) / max(piece.num_steps / piece.config.steps_per_beat, 1),
        chord_size=float(chords.mean()),
        chord_deviation=float(chords.std()),
        register=float(pitches.mean() + piece.config.min_pitch) if len(cells) else _MIDDLE_PITCH,
        length=float(np.exp(np.mean(np.log(beats)))) if len(beats) else 1.0,
    )


def is_minor(score: Score) -> bool:
    """Whether a piece is in a minor key, by its pitch classes."""
    return key.estimate_tonic(score.notes).minor


def describe_place(
    starts: np.ndarray,
    phases: np.ndarray,
    bar_steps: np.ndarray,
    first: int,
    end: int | np.ndarray,
    steps_per_beat: int,
) -> np.ndarray:
    """Says where windows stand, int16 [W, 4] with columns as in `composer.PLACE_SIZES`.

    Args:
      starts: [W] steps at which they start.
      phases: [W] steps since the bar line.
      bar_steps: [W] length of that bar.
      first, end: first downbeat and end of the piece in steps; the end may be one for each window.
      steps_per_beat: steps in a beat.
    """
    columns = (
        phases // steps_per_beat,
        2 * bar_steps // steps_per_beat,
        (end - starts) // steps_per_beat,
        (starts - first) // (_HALF_WINDOW_BEATS * steps_per_beat),
    )
    limited = [np.clip(values, 0, size - 1) for values, size in zip(columns, PLACE_SIZES, strict=True)]
    return np.stack(limited, axis=1).astype(np.int16)


def best_returns(piece: RollPiece, starts: np.ndarray, alike: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds for each window the earlier one of its kind that it resembles most.

    Args:
      piece: the piece.
      starts: [W] steps at which windows start, ascending.
      alike: [W] only windows with the same number are compared.

    Returns:
      Its index, int64 [W], -1 where no earlier window ends before this one starts or none shares a note; and the F1 of
      their onset cells, float32 [W], 0 there.
    """
    length, num_pitches = piece.config.window_steps, piece.config.num_pitches
    pitched = piece.notes[piece.notes[:, PART] != instruments.DRUMS]
    cells = np.unique(pitched[:, STEP].astype(np.int64) * num_pitches + pitched[:, PITCH])
    steps = cells // num_pitches
    spans = [np.arange(*np.searchsorted(steps, [start, start + length])) for start in starts]
    rows = np.repeat(np.arange(len(starts)), [len(span) for span in spans])
    columns = np.concatenate([np.zeros(0, np.int64), *spans]).astype(np.int64)
    columns = cells[columns] - starts[rows] * num_pitches
    played = scipy.sparse.csr_matrix(
        (np.ones(len(rows), np.float32), (rows, columns)), shape=(len(starts), length * num_pitches)
    )
    counts = np.asarray(played.sum(axis=1)).ravel()
    shared = (played @ played.T).toarray()
    similarity = 2 * shared / np.maximum(counts[:, None] + counts, 1)
    allowed = (starts + length <= starts[:, None]) & (alike == alike[:, None])
    similarity = np.where(allowed, similarity, 0.0)
    best = similarity.max(axis=1, initial=0.0)
    link = np.where(best > 0, similarity.argmax(axis=1) if len(starts) else 0, -1)
    return link, best.astype(np.float32)


def make_examples(
    pieces: Sequence[RollPiece],
    styles: Sequence[Style],
    representation: RollRepresentation,
    encode: Encode,
    kit: np.ndarray,
    shape: OnsetShape,
) -> dict[str, np.ndarray]:
    """Makes the examples of pieces, each array [N, ...].

    Args:
      pieces: the pieces.
      styles: their styles.
      representation: cuts windows.
      encode: maps compact windows to latents [W, Z].
      kit: [D] the drum pitches that are written.
      shape: the shape of onset lists.

    Returns:
      The onset lists and, for the composer to go on from, "previous" and "link" float16 [N, Z], "similarity" float32
      [N] (NO_LINK where there is no link), "place" int16 [N, 4] and "style" float32 [N, STYLE_SIZE].
    """
    heard, examples = [], []
    for piece, style in zip(pieces, styles, strict=True):
        steps_per_beat, length = piece.config.steps_per_beat, piece.config.window_steps
        first, end = grid_lib.first_downbeat(piece.bars), int(piece.bars[-1])
        starts = np.arange(first - length, end, steps_per_beat)[:_MAX_WINDOWS]
        lists = representation.encode_at(piece, starts)
        heard.append(lists)
        bar = np.clip(np.searchsorted(piece.bars, starts, side="right") - 1, 0, len(piece.bars) - 2)
        phases, bar_steps = starts - piece.bars[bar], np.diff(piece.bars)[bar]
        before = length // steps_per_beat  # Windows between one and the one that it continues.
        own = np.arange(before, len(starts))
        alike = np.where(starts >= first, phases * (bar_steps.max(initial=0) + 1) + bar_steps, -1)
        link, similarity = best_returns(piece, starts, alike)
        rows = onset_encoding.from_windows(np.asarray(lists.notes)[own], np.asarray(lists.mask)[own], kit, shape)
        place = describe_place(starts, phases, bar_steps, first, end, steps_per_beat)
        rows |= {
            "previous": own - before,
            "link": link[own],
            "similarity": np.where(link[own] >= 0, similarity[own], NO_LINK).astype(np.float32),
            "place": place[own],
            "style": np.tile(style.vector(), (len(own), 1)),
        }
        examples.append(rows)
    # All windows of all pieces at once: the encoder works in batches of one size.
    latents = encode(arrays_lib.concatenate(heard)).astype(np.float16)
    offset = 0
    for arrays, rows in zip(heard, examples, strict=True):
        mine = latents[offset : offset + arrays_lib.num_examples(arrays)]
        offset += len(mine)
        linked = rows["link"] >= 0
        rows["previous"], rows["link"] = mine[rows["previous"]], mine[rows["link"]] * linked[:, None]
    return arrays_lib.concatenate(examples)


def thin(piece: RollPiece, rng: np.random.Generator) -> RollPiece:
    """Returns the piece played by some of its pitched parts, at least one, and most often by its drums."""
    present = np.flatnonzero(piece.parts_present)
    pitched = present[present != instruments.DRUMS]
    if not len(pitched):
        return piece
    kept = rng.choice(pitched, size=rng.integers(1, len(pitched) + 1), replace=False)
    with_drums = rng.random() < _KEEP_DRUMS
    chosen = np.isin(piece.notes[:, PART], kept) | (with_drums & (piece.notes[:, PART] == instruments.DRUMS))
    return dataclasses.replace(piece, notes=piece.notes[chosen])
