"""Pieces as lists of notes: what the composer reads and writes.

A note is a cell (step, pitch) of the beat grid, in C, in which any pitched track starts a note. Notes are ordered by
step, and in a chord soprano, bass, then inner voices from above: the index of a note in its chord is its role.
"""

import dataclasses
from typing import Any

import numpy as np

from vae_jax.composer import harmony as harmony_lib
from vae_jax.composer.form import Form, measure_form
from vae_jax.composer.harmony import Beats
from vae_jax.music import key as key_lib
from vae_jax.music import quantization
from vae_jax.music.key import Tonic
from vae_jax.music.score import Score
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.durations import DURATION_STEPS

STEPS_PER_BEAT = 12
MIN_PITCH, NUM_PITCHES = 24, 84
NUM_DURATIONS = len(DURATION_STEPS)
MAX_GAP = 96  # Steps to the next chord, or more; the class after it says that no chord follows.
MAX_CHORD = 8  # Notes of an earlier chord whose roles are remembered.
PITCH_BYTES = -(-NUM_PITCHES // 8)
MAX_TRACKS = 16
NUM_ROLES, NUM_POSITIONS, MAX_BARS_LEFT, HYPER_BARS = 10, 97, 16, 8
NUM_LAGS = 6  # A beat, 1, 2, 4 and 8 bars, and the lag of the form.
NUM_REFERENCES = 10
MELODY = 7  # The reference that is the last note of the melody; the one before it follows.
NUM_DURATION_REFERENCES = 4
STYLE_SIZE, PLAN_SIZE = 10, 6
NUM_MOVES, NUM_SHARES = 6, 4  # Arguments and values of `motion_style`.
MELODY_SHARES = slice(5, 8)  # Of the style, what it says of the melody.
NEARLY_EQUAL = 3  # Column of a plan that says that a phrase returns nearly equal.
ENDING_BARS = 2  # Bars that count as the ending of a piece.


@dataclasses.dataclass(frozen=True, eq=False)
class NotePiece:
    """N notes of a piece; arrays int64 [N] unless said otherwise."""

    step: np.ndarray
    pitch: np.ndarray  # 0 is `MIN_PITCH`.
    duration: np.ndarray  # In steps.
    tracks: np.ndarray  # A bit for each of the piece's lines.
    bars: np.ndarray  # [num_bars + 1], steps at which bars start, and the end.
    bar: int  # Usual steps of a bar.
    minor: bool
    form: Form
    harmony: np.ndarray  # [num_beats], chord classes of quarter notes, see `harmony`.

    @property
    def end(self) -> int:
        """Length in steps."""
        return int(self.bars[-1])

    @property
    def last(self) -> int:
        """Step of the last chord; 0 where there is none."""
        return int(self.step.max(initial=0))

    @property
    def num_phrases(self) -> int:
        """Number of phrases, the pick-up in the first."""
        return max(-(-(self.end - self.form.start) // self.form.phrase), 0) + 1  # The end is a token too.


def in_order(step: np.ndarray, pitch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the order of notes (soprano, bass, inner from above), and the role of each in that order."""
    order = np.lexsort((-pitch, step))
    first = np.searchsorted(step[order], step[order])
    last = np.searchsorted(step[order], step[order], side="right") - 1
    index = np.arange(len(order))
    role = np.where(index == first, 0, np.where(index == last, 1, index - first + 1))
    again = np.lexsort((role, step[order]))
    return order[again], role[again]


def read_piece(score: Score, tonic: Tonic | None = None) -> NotePiece:
    """Reads the pitched notes of a score; its tonic is estimated unless given."""
    notes = score.notes
    _, steps, durations = encoding.quantize_notes(score, STEPS_PER_BEAT)
    tonic = tonic or key_lib.estimate_tonic(notes)
    end = int((steps + durations).max(initial=1))
    bars = quantization.bar_steps(score, end, STEPS_PER_BEAT)
    pitched = ~notes.is_drum
    line = np.unique(notes.line[pitched], return_inverse=True)[1]
    pitches = encoding.fold_pitches(notes.pitch[pitched] + key_lib.semitones_to(tonic), MIN_PITCH, NUM_PITCHES)
    cells, of_note = np.unique(steps[pitched] * NUM_PITCHES + pitches - MIN_PITCH, return_inverse=True)
    longest, tracks = np.ones(len(cells), np.int64), np.zeros(len(cells), np.int64)
    np.maximum.at(longest, of_note, durations[pitched])
    np.bitwise_or.at(tracks, of_note, np.where(line < MAX_TRACKS, 1 << np.minimum(line, MAX_TRACKS - 1), 0))
    step, pitch = np.divmod(cells, NUM_PITCHES)
    order, _ = in_order(step, pitch)
    step, pitch = step[order], pitch[order]
    lengths = np.diff(bars[bars >= quantization.first_downbeat(bars)])
    bar = int(np.bincount(lengths).argmax()) if len(lengths) else 4 * STEPS_PER_BEAT
    form = measure_form(step, pitch, bars, bar)
    duration = longest[order]
    harmony = harmony_lib.measure_harmony(step, pitch, duration, -(-int(bars[-1]) // STEPS_PER_BEAT))
    return NotePiece(step, pitch, duration, tracks[order], bars, bar, tonic.minor, form, harmony)


def beats_of(piece: NotePiece, last: int) -> Beats:
    """Returns what is known of the quarter notes of a piece, its last chord at a step, before their chords."""
    beats = np.arange(-(-piece.end // STEPS_PER_BEAT))
    step = beats * STEPS_PER_BEAT
    position, bar, _, _ = place_at(step, piece)
    lag = piece.form.lag_at(step)
    return Beats(
        piece.minor,
        np.where(position == 0, 0, np.where(2 * position == bar, 1, 2)),
        last // STEPS_PER_BEAT - beats,
        np.where((lag > 0) & (lag <= step), (step - lag) // STEPS_PER_BEAT, -1),
        piece.form.similarity_at(step),
    )


def chords_at(step: np.ndarray, harmony: np.ndarray) -> np.ndarray:
    """Returns the chord class of the quarter note before that of steps [...], of it and of the next, [..., 3]; outside
    the piece it is `UNKNOWN`."""
    around = np.concatenate([[harmony_lib.UNKNOWN], harmony, [harmony_lib.UNKNOWN] * 2])
    beat = np.clip(step // STEPS_PER_BEAT, 0, len(harmony))
    return around[beat[..., None] + np.arange(3)]


def sounding_melody(piece: NotePiece) -> np.ndarray:
    """Returns how much of each pitch class of the top voice sounds in each quarter note, [num_beats, 12]."""
    melody = top_voice(piece)
    return harmony_lib.sounding(melody.step, melody.pitch, melody.duration, len(piece.harmony))


def top_voice(piece: NotePiece) -> NotePiece:
    """Returns the notes that start above all that sounds, one at a time, each until the next one starts."""
    role = in_order(piece.step, piece.pitch)[1]
    rows, end, highest = [], -1, -1
    for n in np.flatnonzero(role == 0).tolist():
        if piece.step[n] >= end or piece.pitch[n] >= highest:
            rows.append(n)
            end, highest = int(piece.step[n] + piece.duration[n]), int(piece.pitch[n])
    index = np.array(rows, np.int64)
    step, pitch = piece.step[index], piece.pitch[index]
    duration = np.minimum(piece.duration[index], np.diff(step, append=piece.end))
    form = measure_form(step, pitch, piece.bars, piece.bar)
    return dataclasses.replace(piece, step=step, pitch=pitch, duration=duration, tracks=piece.tracks[index], form=form)


def keep_lines(piece: NotePiece, lines: np.ndarray) -> NotePiece:
    """Returns the notes of a piece that any of these lines (ascending numbers) plays; other lines are gone."""
    bits = (piece.tracks[:, None] >> lines) & 1
    kept = bits.any(axis=1)
    rows = np.flatnonzero(kept)
    rows = rows[in_order(piece.step[kept], piece.pitch[kept])[0]]
    step, pitch = piece.step[rows], piece.pitch[rows]
    return dataclasses.replace(
        piece,
        step=step,
        pitch=pitch,
        duration=piece.duration[rows],
        tracks=(bits[rows] << np.arange(len(lines))).sum(axis=1),
        form=measure_form(step, pitch, piece.bars, piece.bar),
    )


def join(first: NotePiece, second: NotePiece) -> NotePiece:
    """Returns two pieces after each other, in the form that all of the second repeats the first at the same place.

    The chords of the first are unknown.
    """
    start = first.end
    form = Form(start, start, np.array([1]), second.form.similarity[:1])
    return dataclasses.replace(
        second,
        step=np.concatenate([first.step, start + second.step]),
        pitch=np.concatenate([first.pitch, second.pitch]),
        duration=np.concatenate([first.duration, second.duration]),
        tracks=np.concatenate([first.tracks, second.tracks]),
        bars=np.concatenate([first.bars, start + second.bars[1:]]),
        form=form,
        harmony=np.concatenate([np.full(start // STEPS_PER_BEAT, harmony_lib.UNKNOWN), second.harmony]),
    )


def measure_style(piece: NotePiece) -> np.ndarray:
    """Measures how a piece is written, float32 [STYLE_SIZE], about -1 to 1; zeros where it has no notes.

    These are density, chord size, its deviation, register, length, and the shares of `motion_style`.
    """
    if not len(piece.step):
        return np.zeros(STYLE_SIZE, np.float32)
    size = np.unique(piece.step, return_counts=True)[1]
    values = (
        np.log(max(len(piece.step) / max(piece.end / STEPS_PER_BEAT, 1), 0.5)) - 1.2,
        size.mean() / 3 - 1,
        size.std() - 1,
        (piece.pitch.mean() - 36) / 12,
        np.log2(np.exp(np.log(piece.duration / STEPS_PER_BEAT).mean())),
        *motion_style(*_count_motion(piece)),
        1.0,  # That a style is given.
    )
    return np.array(values, np.float32)


def _count_motion(piece: NotePiece) -> tuple[int, ...]:
    """The arguments of `motion_style` over a whole piece that has notes."""
    chords, size = np.unique(piece.step, return_index=True, return_counts=True)[1:]
    soprano = piece.pitch[chords]
    intervals = np.diff(soprano[soprano == sounding_range(piece)[1][piece.step[chords]]])
    moves = intervals[intervals != 0]
    turns = moves[1:] * moves[:-1] < 0
    has_bass = np.flatnonzero(size > 1)
    bass = piece.pitch[chords[has_bass] + 1]
    motion = (soprano[has_bass] - soprano[has_bass - 1]) * (bass - np.append(soprano[0], bass[:-1]))[: len(bass)]
    motion = motion[(motion != 0) & (has_bass > 0)]
    return len(intervals), len(moves), (np.abs(moves) <= 2).sum(), turns.sum(), len(motion), (motion < 0).sum()


def motion_style(intervals: Any, moves: Any, steps: Any, turns: Any, motions: Any, contrary: Any) -> tuple[Any, ...]:
    """Shares of repeated notes in a melody, of steps among its moves, of moves that turn, and of contrary motion.

    The arguments count intervals of the melody, those that are not 0, those of up to two semitones, and those in the
    direction opposite to the one before; chords in which soprano and bass both move, and in opposite directions. The
    usual shares count as four observations.
    """
    melody = (intervals - moves, intervals, 0.25), (steps, moves, 0.65), (turns, moves - 1, 0.5)
    counted = (*melody, (contrary, motions, 0.55))
    return tuple(3 * ((hits + 4 * usual) / ((number + abs(number)) / 2 + 4) - usual) for hits, number, usual in counted)


def sounding_range(piece: NotePiece) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lowest and the highest pitch that sounds at every step, int64 [T]; 255 and -1 in silence."""
    length = np.minimum(piece.duration, piece.end - piece.step)
    sounding = np.repeat(piece.step, length) + np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    lowest, highest = np.full(piece.end, 255), np.full(piece.end, -1)
    np.minimum.at(lowest, sounding, np.repeat(piece.pitch, length))
    np.maximum.at(highest, sounding, np.repeat(piece.pitch, length))
    return lowest, highest


def lags_at(steps: np.ndarray, bar: int, form: Form) -> np.ndarray:
    """Returns the lags [..., NUM_LAGS] at steps; 0 where there is none."""
    fixed = np.array([STEPS_PER_BEAT, bar, 2 * bar, 4 * bar, 8 * bar])
    plan = form.lag_at(steps)
    return np.concatenate([np.broadcast_to(fixed, (*steps.shape, 5)), plan[..., None]], axis=-1)


def plan_features(similarity: np.ndarray, has_plan: np.ndarray) -> np.ndarray:
    """Features of how closely the phrase at hand repeats another; zeros where no form is given."""
    s = np.clip(similarity, 0, 1)
    return np.stack([np.ones_like(s), s, s**3, s > 0.85, s > 0.95, s > 0.999], axis=-1) * has_plan[..., None]


def place_at(step: np.ndarray, piece: NotePiece) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns position in the bar, steps of the bar, steps to the end, and the bar modulo HYPER_BARS."""
    bars = piece.bars
    index = np.clip(np.searchsorted(bars, step, side="right") - 1, 0, max(len(bars) - 2, 0))
    lengths = np.diff(bars) if len(bars) > 1 else np.array([piece.bar])
    is_pickup = (index == 0) & (quantization.first_downbeat(bars) > bars[0])
    missing = np.where(is_pickup, np.maximum(piece.bar - lengths[0], 0), 0)
    length = lengths[index] + missing
    position = np.minimum(step - bars[index] + missing, NUM_POSITIONS - 1)
    has_pickup = int(quantization.first_downbeat(bars) > bars[0])
    return position, np.minimum(length, 255), piece.end - step, (index - has_pickup) % HYPER_BARS
