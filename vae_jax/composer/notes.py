"""Pieces as lists of notes: what the composer reads and writes.

A note is a cell (step, pitch) of the beat grid, in C, in which any pitched track starts a note. Notes are ordered by
step, and in a chord soprano, bass, then inner voices from above: the index of a note in its chord is its role.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from vae_jax.composer.form import Form, measure_form
from vae_jax.music import key as key_lib
from vae_jax.music import quantization
from vae_jax.music.key import Tonic
from vae_jax.music.score import Score
from vae_jax.representations.pianoroll import encoding

STEPS_PER_BEAT = 12
MIN_PITCH, NUM_PITCHES = 24, 84
# Length of each duration class in steps: every length up to a beat, then ever coarser.
DURATION_STEPS = np.array(
    [*range(1, 13), 14, 16, 18, 20, 22, 24, 28, 32, 36, 40, 44, 48, 60, 72, 96, 144], dtype=np.int32
)
NUM_DURATIONS = len(DURATION_STEPS)
MAX_GAP = 96  # Steps to the next onset; the class after it ends the piece.
MAX_CHORD = 8  # Notes of an earlier chord that are remembered.
MAX_TRACKS = 16
NUM_ROLES, NUM_POSITIONS, MAX_BARS_LEFT, HYPER_BARS = 10, 97, 16, 8
NUM_LAGS = 6  # A beat, 1, 2, 4 and 8 bars, and the lag of the form.
STYLE_SIZE, PLAN_SIZE = 6, 4


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

    @property
    def end(self) -> int:
        """Length in steps."""
        return int(self.bars[-1])


def in_order(step: np.ndarray, pitch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the order of notes (soprano, bass, inner from above), and the role of each in that order."""
    order = np.lexsort((-pitch, step))
    first = np.searchsorted(step[order], step[order])
    last = np.searchsorted(step[order], step[order], side="right") - 1
    index = np.arange(len(order))
    role = np.where(index == first, 0, np.where(index == last, 1, index - first + 1))
    again = np.lexsort((role, step[order]))
    return order[again], role[again]


def duration_classes(steps: np.ndarray) -> np.ndarray:
    """Returns the duration class whose length is nearest in proportion, int64, for lengths in steps."""
    return np.searchsorted(np.sqrt(DURATION_STEPS[1:] * DURATION_STEPS[:-1]), steps)


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
    return NotePiece(step, pitch, longest[order], tracks[order], bars, bar, tonic.minor, form)


def measure_style(piece: NotePiece) -> np.ndarray:
    """Returns density, chord size, its deviation, register and length as float32 [STYLE_SIZE], about -1 to 1."""
    if not len(piece.step):
        return np.zeros(STYLE_SIZE, np.float32)
    chords = np.unique(piece.step, return_counts=True)[1]
    values = (
        np.log(max(len(piece.step) / max(piece.end / STEPS_PER_BEAT, 1), 0.5)) - 1.2,
        chords.mean() / 3 - 1,
        chords.std() - 1,
        (piece.pitch.mean() - 36) / 12,
        np.log2(np.exp(np.log(piece.duration / STEPS_PER_BEAT).mean())),
        1.0,  # That a style is given.
    )
    return np.array(values, np.float32)


class Crops(NamedTuple):
    """Crops of N notes; the first only conditions the rest. Steps count from the start of the piece."""

    gap: np.ndarray  # uint8 [N], steps from the note before, MAX_GAP + 1 after the last note of the piece.
    pitch: np.ndarray  # uint8 [N]; NUM_PITCHES before the first note and after the last.
    duration: np.ndarray  # uint8 [N], class.
    role: np.ndarray  # uint8 [N]
    position: np.ndarray  # uint8 [N], steps since the bar line.
    bar: np.ndarray  # uint8 [N], steps of the bar.
    left: np.ndarray  # uint16 [N], steps to the end of the piece.
    hyper: np.ndarray  # uint8 [N], bar modulo HYPER_BARS.
    references: np.ndarray  # uint8 [N, 4]: last pitch of the role, of the note before, soprano, bass.
    aligned: np.ndarray  # uint8 [N, NUM_LAGS, MAX_CHORD], pitches of the chord a lag before.
    aligned_duration: np.ndarray  # uint8 [N, NUM_LAGS], class of this pitch a lag before.
    onsets: np.ndarray  # uint8 [N, NUM_LAGS, 13], bits: whether there is an onset a lag before each later step.
    plan: np.ndarray  # float16 [N, PLAN_SIZE], see `plan_features`.
    step: np.ndarray  # int32 [N]
    size: np.ndarray  # uint8 [N], notes of the chord.
    tracks: np.ndarray  # uint16 [N], a bit for each line that plays the note.
    style: np.ndarray  # float32 [STYLE_SIZE]
    lines: np.ndarray  # float32 [MAX_TRACKS, lines.LINE_SIZE]
    minor: np.ndarray  # bool
    weight: np.ndarray  # float16 [N], of the note as a target: 0 for the first and for padding.
    ending: np.ndarray  # float16 [N], whether the note lies in the last two bars.


def lags_at(steps: np.ndarray, bar: int, form: Form) -> np.ndarray:
    """Returns the lags [..., NUM_LAGS] at steps; 0 where there is none."""
    fixed = np.array([STEPS_PER_BEAT, bar, 2 * bar, 4 * bar, 8 * bar])
    plan = form.lag_at(steps)
    return np.concatenate([np.broadcast_to(fixed, (*steps.shape, 5)), plan[..., None]], axis=-1)


def plan_features(similarity: np.ndarray, has_plan: np.ndarray) -> np.ndarray:
    """Features of how closely the phrase at hand repeats another; zeros where no form is given."""
    s = np.clip(similarity, 0, 1)
    return np.stack([np.ones_like(s), s, s**3, s > 0.85], axis=-1) * has_plan[..., None]


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


def make_features(piece: NotePiece) -> dict[str, np.ndarray]:
    """Features of all notes of a piece as in `Crops`: a start, the N notes, and an end: [N + 2, ...]."""
    n = len(piece.step)
    order, role = in_order(piece.step, piece.pitch)
    step = np.concatenate([[0], piece.step, [piece.end]])
    pitch = np.concatenate([[NUM_PITCHES], piece.pitch, [NUM_PITCHES]])
    duration = np.concatenate([[0], duration_classes(piece.duration), [0]])
    role = np.concatenate([[0], role, [0]])
    gap = np.minimum(np.diff(step, prepend=0), MAX_GAP)
    gap[-1] = MAX_GAP + 1
    position, bar, left, hyper = place_at(step, piece)
    # The chords by step, with room for reaching past the end.
    reach = piece.end + MAX_GAP + 2
    chords = np.full((reach, MAX_CHORD), NUM_PITCHES, np.uint8)
    lengths = np.full((reach, NUM_PITCHES + 1), NUM_DURATIONS, np.uint8)
    index = np.minimum(role, MAX_CHORD)[1:-1]
    kept = index < MAX_CHORD
    chords[piece.step[kept], index[kept]] = piece.pitch[kept]
    lengths[piece.step, piece.pitch] = duration[1:-1]
    has_onset = np.zeros(reach, bool)
    has_onset[piece.step] = True
    lags = lags_at(step, piece.bar, piece.form)
    source = step[:, None] - lags
    valid = (source >= 0) & (lags > 0)
    source = np.where(valid, source, 0)
    aligned = np.where(valid[..., None], chords[source], NUM_PITCHES)
    aligned_duration = np.where(valid, lengths[source, np.minimum(pitch, NUM_PITCHES)[:, None]], NUM_DURATIONS)
    ahead = step[:, None] + np.arange(MAX_GAP + 1)
    ahead_lags = lags_at(ahead, piece.bar, piece.form)
    ahead_source = ahead[..., None] - ahead_lags
    ok = (ahead_source >= 0) & (ahead_lags > 0) & (ahead_source <= step[:, None, None])
    flags = ok & has_onset[np.clip(ahead_source, 0, reach - 1)]
    # For the note itself, whether the chord a lag before goes on (has more notes than this one so far).
    size = (aligned < NUM_PITCHES).sum(-1)
    flags[:, 0] = size > np.minimum(role, MAX_CHORD)[:, None] + 1
    references = _references(pitch, role, step)
    return {
        "gap": gap.astype(np.uint8),
        "pitch": pitch.astype(np.uint8),
        "duration": duration.astype(np.uint8),
        "role": np.minimum(role, NUM_ROLES - 1).astype(np.uint8),
        "position": position.astype(np.uint8),
        "bar": bar.astype(np.uint8),
        "left": np.minimum(left, 65535).astype(np.uint16),
        "hyper": hyper.astype(np.uint8),
        "references": references,
        "aligned": aligned.astype(np.uint8),
        "aligned_duration": aligned_duration.astype(np.uint8),
        "onsets": np.packbits(flags.transpose(0, 2, 1), axis=-1, bitorder="little"),
        "plan": plan_features(piece.form.similarity_at(step), piece.form.lag_at(step) > 0).astype(np.float16),
        "step": step.astype(np.int32),
        "size": np.concatenate(
            [[1], np.unique(piece.step, return_counts=True)[1][np.unique(piece.step, return_inverse=True)[1]], [1]]
        ).astype(np.uint8),
        "tracks": np.concatenate([[0], piece.tracks, [0]]).astype(np.uint16),
        "weight": np.concatenate([[0], np.ones(n + 1)]).astype(np.float16),
        "ending": (left <= 2 * piece.bar).astype(np.float16),
    }


def _references(pitch: np.ndarray, role: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The last pitches of each note's role, of the note before, and soprano and bass so far, uint8 [N, 4]."""
    found = np.full((len(pitch), 4), NUM_PITCHES, np.uint8)
    last = np.full(NUM_ROLES, NUM_PITCHES, np.uint8)
    for n, (p, r) in enumerate(zip(pitch.tolist(), np.minimum(role, NUM_ROLES - 1).tolist(), strict=True)):
        found[n] = last[r], pitch[n - 1] if n else NUM_PITCHES, last[0], last[1]
        if p < NUM_PITCHES:
            last[r] = p
            if r == 0:  # Of a single note: it may be the bass too, until a bass follows.
                last[1] = p if last[1] == NUM_PITCHES else last[1]
    return found


def crop(features: dict[str, np.ndarray], piece: NotePiece, lines: np.ndarray, length: int, hop: int) -> Crops:
    """Cuts crops of `length` notes: every `hop` notes, and the end of the piece."""
    total = len(features["pitch"])
    starts = list(range(0, max(total - length, 0) + 1, hop))
    if starts[-1] + length < total:
        starts.append(total - length)
    rows = np.array(starts)[:, None] + np.arange(length)
    is_there = rows < total
    rows = np.minimum(rows, total - 1)
    cut = {name: values[rows] for name, values in features.items()}
    cut["weight"] = cut["weight"] * is_there
    cut["weight"][:, 0] = 0
    style = np.tile(measure_style(piece), (len(starts), 1))
    repeated = np.tile(lines, (len(starts), 1, 1))
    return Crops(**cut, style=style, lines=repeated, minor=np.full(len(starts), piece.minor))
