"""Pieces as lists of notes: what the composer reads and writes.

A note is a cell (step, pitch) of the beat grid, in C, in which any pitched track starts a note. Notes are ordered by
step, and in a chord soprano, bass, then inner voices from above: the index of a note in its chord is its role.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from vae_jax.composer.form import Form, measure_form
from vae_jax.music import key as key_lib
from vae_jax.music import quantization
from vae_jax.music.key import Tonic
from vae_jax.music.score import Score
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.durations import DURATION_STEPS, duration_classes

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
NUM_DURATION_REFERENCES = 4
_WIDE, _SPAN = 7, 40  # Semitones.
_MELODY_CLASSES = 2 * _WIDE + 2
_LONG_GAP = 24
_ANY_PITCH, _ANY_DURATION = NUM_PITCHES + 1, NUM_DURATIONS + 1
# Numbers of the contexts under which pitches, times, durations and whether a chord goes on are counted.
NUM_CONTEXTS = (
    (3 * _ANY_PITCH, (_MELODY_CLASSES + 2) * _ANY_PITCH, (33 + 2 * (_SPAN + 2)) * _ANY_PITCH),
    (NUM_POSITIONS, STEPS_PER_BEAT * (_LONG_GAP + 1), (_LONG_GAP + 1) ** 2),
    (3 * _ANY_DURATION, 3 * _ANY_DURATION, _ANY_DURATION**2, _ANY_DURATION**2),
    (NUM_ROLES * (NUM_ROLES + 1), NUM_ROLES * NUM_POSITIONS),
)
NUM_COUNTED = (NUM_PITCHES, MAX_GAP + 1, NUM_DURATIONS, 2)  # Values.
GAP_CLASSES = np.append(duration_classes(np.arange(MAX_GAP + 1).clip(1)), NUM_DURATIONS)  # As durations.
MAX_PHRASES = 64  # In a crop.
START, NOTE, END, PADDING = range(4)  # Kinds of tokens.
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
    return NotePiece(step, pitch, longest[order], tracks[order], bars, bar, tonic.minor, form)


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
    """Returns two pieces after each other, in the form that all of the second repeats the first at the same place."""
    start = first.end
    form = Form(start, start, np.array([1]), second.form.similarity[:1])
    columns = {
        name: np.concatenate([getattr(first, name), getattr(second, name) + (start if name == "step" else 0)])
        for name in ("step", "pitch", "duration", "tracks")
        if len(getattr(second, name)) == len(second.step)
    }
    bars = np.concatenate([first.bars, start + second.bars[1:]])
    return dataclasses.replace(second, **columns, bars=bars, form=form)


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


class Recent(NamedTuple):
    """What the contexts of counts look at; integers, or arrays of batches."""

    last: Any  # Last pitch of the note's role, of a soprano that of the melody.
    before: Any  # Pitch of the note before.
    soprano: Any  # Last pitch of the soprano.
    melody: Any  # Interval class of the last two sopranos, see `melody_class`.
    gap: Any  # Steps between the last two chords, and between the two before.
    gap_before: Any
    duration: Any  # Duration class of the last note of the role, and of the note above in the chord.
    above: Any
    size: Any  # Notes of the chord before.


def pitch_contexts(recent: Recent, role: Any, position: Any) -> tuple[Any, ...]:
    """Contexts of a pitch: its role and the last of this role; with what else is near.

    That is for a soprano the interval before, and the place in the bar; for others the note before, and how far it is
    below the soprano.
    """
    kind = (role > 0) * 1 + (role > 1) * 1
    above = kind > 0
    first = kind * _ANY_PITCH + recent.last
    second = recent.melody * (1 - above) + (_MELODY_CLASSES + kind - 1) * above
    span = _clip(recent.soprano - recent.before * (kind > 1) - recent.last * (kind < 2), 0, _SPAN)
    third = (position // 3) * (1 - above) + (33 + (kind - 1) * (_SPAN + 2) + span) * above
    value = recent.last * (1 - above) + recent.before * above
    return first, second * _ANY_PITCH + value, third * _ANY_PITCH + (recent.soprano * above + recent.last * (1 - above))


def gap_contexts(recent: Recent, position: Any) -> tuple[Any, ...]:
    """Contexts of a time: the place in the bar; that in the beat and the time before; the two times before."""
    short, before = _clip(recent.gap, 0, _LONG_GAP), _clip(recent.gap_before, 0, _LONG_GAP)
    return position, position % STEPS_PER_BEAT * (_LONG_GAP + 1) + short, before * (_LONG_GAP + 1) + short


def duration_contexts(recent: Recent, role: Any, gap: Any) -> tuple[Any, ...]:
    """Contexts of a duration: role or time to the next chord, with the last duration of the role or that above."""
    kind = (role > 0) * 1 + (role > 1) * 1
    return (
        kind * _ANY_DURATION + gap,
        kind * _ANY_DURATION + recent.duration,
        gap * _ANY_DURATION + recent.above,
        gap * _ANY_DURATION + recent.duration,
    )


def more_contexts(recent: Recent, role: Any, position: Any) -> tuple[Any, ...]:
    """Contexts of whether a chord goes on to a role: the size of the chord before; the place in the bar."""
    return role * (NUM_ROLES + 1) + _clip(recent.size, 0, NUM_ROLES), role * NUM_POSITIONS + position


def is_melody(role: Any, pitch: Any, highest: Any) -> Any:
    """Whether a note starts above all that is held, of which the highest is given."""
    return (role == 0) & ((highest >= NUM_PITCHES) | (pitch >= highest))


def is_bass(role: Any, pitch: Any, lowest: Any) -> Any:
    """Whether a note starts below all that is held, of which the lowest is given."""
    return ((role == 1) & (lowest >= NUM_PITCHES)) | ((role < 2) & (lowest < NUM_PITCHES) & (pitch <= lowest))


def melody_class(interval: Any, is_known: Any) -> Any:
    """Class of an interval in semitones, 0 where it is not known."""
    return (_clip(interval, -_WIDE, _WIDE) + _WIDE + 1) * is_known


def _clip(value: Any, low: int, high: int) -> Any:
    """Clips integers and arrays of any kind."""
    return value * ((value >= low) & (value <= high)) + low * (value < low) + high * (value > high)


class Crops(NamedTuple):
    """Crops of N tokens; the first only conditions the rest. A piece is a start twice, its notes, and an end."""

    kind: np.ndarray  # uint8 [N]
    step: np.ndarray  # int32 [N], from the start of the piece.
    pitch: np.ndarray  # uint8 [N]; NUM_PITCHES where there is no note.
    duration: np.ndarray  # uint8 [N], class.
    role: np.ndarray  # uint8 [N], 0 in the first note of a chord.
    gap: np.ndarray  # uint8 [N], steps to the next chord, at most MAX_GAP; MAX_GAP + 1 where none follows.
    position: np.ndarray  # uint8 [N], steps since the bar line.
    bar: np.ndarray  # uint8 [N], steps of the bar.
    left: np.ndarray  # uint16 [N], steps to the last chord of the piece, which is planned.
    hyper: np.ndarray  # uint8 [N], bar modulo HYPER_BARS.
    phrase: np.ndarray  # int16 [N], number of the phrase in the crop.
    references: np.ndarray  # uint8 [N, NUM_REFERENCES], see `_references`.
    lengths: np.ndarray  # uint8 [N, NUM_DURATION_REFERENCES], classes of durations to compare with.
    held: np.ndarray  # uint8 [N, PITCH_BYTES], bits: pitches that have started earlier and still sound.
    aligned: np.ndarray  # uint8 [N, NUM_LAGS, PITCH_BYTES], bits: pitches that start a lag before.
    aligned_role: np.ndarray  # uint8 [N, NUM_LAGS], the pitch of this role a lag before.
    aligned_duration: np.ndarray  # uint8 [N, NUM_LAGS], class of this pitch a lag before.
    aligned_size: np.ndarray  # uint8 [N, NUM_LAGS], notes that start a lag before.
    # How often each value occurred in each context of the piece so far, uint8 [N, contexts, values]:
    pitch_counts: np.ndarray
    gap_counts: np.ndarray
    duration_counts: np.ndarray
    more_counts: np.ndarray  # Of the role after the token's own.
    onsets: np.ndarray  # uint8 [N, NUM_LAGS, 13], bits: whether a chord starts a lag before each later step.
    plan: np.ndarray  # float16 [N, PLAN_SIZE], see `plan_features`.
    size: np.ndarray  # uint8 [N], notes of the chord.
    tracks: np.ndarray  # uint16 [N], a bit for each line that plays the note.
    style: np.ndarray  # float32 [STYLE_SIZE]
    lines: np.ndarray  # float32 [MAX_TRACKS, lines.LINE_SIZE]
    minor: np.ndarray  # bool
    ending: np.ndarray  # bool [N], whether the token lies in the last two bars.


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
    """Features of all tokens of a piece, as in `Crops`; [N + 3, ...] for N notes."""
    n = len(piece.step)
    role = in_order(piece.step, piece.pitch)[1]
    kind = np.concatenate([[START, START], np.full(n, NOTE), [END]])
    step = np.concatenate([[0, 0], piece.step, [piece.end]])
    pitch = np.concatenate([[NUM_PITCHES] * 2, piece.pitch, [NUM_PITCHES]])
    duration = np.concatenate([[0, 0], duration_classes(piece.duration), [0]])
    role = np.minimum(np.concatenate([[0, 0], role, [0]]), NUM_ROLES - 1)
    chords, size = np.unique(piece.step, return_counts=True)
    later = np.append(chords, piece.end + 10 * MAX_GAP)
    following = later[np.searchsorted(chords, step, side="right")]
    following[:2] = later[0]
    gap = np.where(following > piece.end, MAX_GAP + 1, np.minimum(following - step, MAX_GAP))
    gap[0] = MAX_GAP + 1  # The first token knows nothing.
    position, bar, _, hyper = place_at(step, piece)
    left = np.maximum(piece.last - step, 0)
    # What starts at each step, with room for reaching past the end.
    reach = piece.end + MAX_GAP + 2
    roll = np.zeros((reach, NUM_PITCHES + 1), bool)
    roles = np.full((reach, NUM_ROLES), NUM_PITCHES, np.uint8)
    lengths = np.full((reach, NUM_PITCHES + 1), NUM_DURATIONS, np.uint8)
    roll[piece.step, piece.pitch] = True
    roles[piece.step, role[2:-1]] = piece.pitch
    lengths[piece.step, piece.pitch] = duration[2:-1]
    sizes = roll.sum(axis=1)
    lags = lags_at(step, piece.bar, piece.form)
    source = step[:, None] - lags
    valid = (source >= 0) & (lags > 0)
    source = np.where(valid, source, 0)
    ahead = step[:, None] + np.arange(MAX_GAP + 1)
    ahead_lags = lags_at(ahead, piece.bar, piece.form)
    ahead_source = ahead[..., None] - ahead_lags
    ok = (ahead_source >= 0) & (ahead_lags > 0) & (ahead_source <= step[:, None, None])
    ok[:2] = False  # Where the piece starts nothing is known, not even whether a chord starts there.
    flags = ok & (sizes > 0)[np.clip(ahead_source, 0, reach - 1)]
    bits = np.packbits(roll[:, :NUM_PITCHES], axis=-1, bitorder="little")
    start, phrase = piece.form.start, piece.form.phrase
    uint8 = {
        "kind": kind,
        "pitch": pitch,
        "duration": duration,
        "role": role,
        "gap": gap,
        "position": position,
        "bar": bar,
        "hyper": hyper,
        "aligned": np.where(valid[..., None], bits[source], 0),
        "aligned_role": np.where(valid, roles[source, role[:, None]], NUM_PITCHES),
        "aligned_duration": np.where(valid, lengths[source, pitch[:, None]], NUM_DURATIONS),
        "aligned_size": np.where(valid, sizes[source], 0),
        "onsets": np.packbits(flags.transpose(0, 2, 1), axis=-1, bitorder="little"),
        "held": np.packbits(_held(piece, reach)[step], axis=-1, bitorder="little"),
        "size": np.concatenate([[1, 1], size[np.searchsorted(chords, piece.step)], [1]]),
    }
    references, before = _references(pitch, role, step, duration, _held(piece, reach)[step])
    uint8 |= _count(pitch, role, duration, gap, position, kind, references[:, -3:-1])
    to_bar = duration_classes(np.maximum(bar - position, 1))
    return {name: values.astype(np.uint8) for name, values in uint8.items()} | {
        "references": references,
        "lengths": np.concatenate([before, to_bar[:, None].astype(np.uint8)], axis=-1),
        "step": step.astype(np.int32),
        "left": np.minimum(left, 65535).astype(np.uint16),
        "phrase": np.maximum((step - start) // phrase, 0),
        "plan": plan_features(piece.form.similarity_at(step), piece.form.lag_at(step) > 0).astype(np.float16),
        "tracks": np.concatenate([[0, 0], piece.tracks, [0]]).astype(np.uint16),
        "ending": left <= 2 * piece.bar,
    }


def _count(
    pitch: np.ndarray,
    role: np.ndarray,
    duration: np.ndarray,
    gap: np.ndarray,
    position: np.ndarray,
    kind: np.ndarray,
    melodies: np.ndarray,
) -> dict[str, np.ndarray]:
    """How often what each token may hold occurred before in the piece in the same contexts: see `Crops`.

    `melodies` [N, 2] are the last two notes of the melody.
    """
    tables = [
        [np.zeros((contexts, size), np.uint8) for contexts in numbers]
        for numbers, size in zip(NUM_CONTEXTS, NUM_COUNTED, strict=True)
    ]
    found = [
        np.zeros((len(pitch), len(numbers), size), np.uint8)
        for numbers, size in zip(NUM_CONTEXTS, NUM_COUNTED, strict=True)
    ]
    last, last_duration = [NUM_PITCHES] * NUM_ROLES, [NUM_DURATIONS] * NUM_ROLES
    before, gaps, above, sizes = NUM_PITCHES, (MAX_GAP + 1, MAX_GAP + 1), NUM_DURATIONS, (0, 0)

    def count(n: int, which: int, contexts: tuple[int, ...], value: int, counts: bool) -> None:
        for k, context in enumerate(contexts):
            row = tables[which][k][context]
            found[which][n, k] = row
            if counts and row[value] < 255:
                row[value] += 1

    columns = (pitch, role, duration, gap, position, kind)
    for n, (p, r, d, g, at, what) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        is_note = what == NOTE
        if r == 0:
            above = NUM_DURATIONS
        first, second = melodies[n].tolist()
        melody = melody_class(first - second, second < NUM_PITCHES)
        voice = last[r] if r else first
        recent = Recent(voice, before, last[0], melody, *gaps, last_duration[r], above, sizes[r == 0])
        if n:  # Whether the chord of the token before went on.
            following = min(int(role[n - 1]) + 1, NUM_ROLES - 1)
            size = sizes[0]
            contexts = more_contexts(recent._replace(size=size), following, int(position[n - 1]))
            count(n - 1, 3, contexts, int(r > 0), bool(kind[n - 1] == NOTE))
        if r == 0:
            sizes = sizes[1], 0
        recent = recent._replace(size=sizes[0])
        count(n, 0, pitch_contexts(recent, r, at), min(p, NUM_PITCHES - 1), is_note)
        count(n, 1, gap_contexts(recent, at), min(g, MAX_GAP), is_note and r == 0 and g <= MAX_GAP)
        count(n, 2, duration_contexts(recent, r, int(GAP_CLASSES[g])), d, is_note)
        if is_note:
            if r == 0:
                gaps = (g, gaps[0])
            last[r], last_duration[r], before, above, sizes = p, d, p, d, (sizes[0], sizes[1] + 1)
    return dict(zip(("pitch_counts", "gap_counts", "duration_counts", "more_counts"), found, strict=True))


def _held(piece: NotePiece, reach: int) -> np.ndarray:
    """Whether a note that started before each step sounds at it, bool [reach, NUM_PITCHES]."""
    changes = np.zeros((reach + 1, NUM_PITCHES), np.int32)
    end = np.minimum(piece.step + DURATION_STEPS[duration_classes(piece.duration)], reach)
    np.add.at(changes, (np.minimum(piece.step + 1, end), piece.pitch), 1)
    np.add.at(changes, (end, piece.pitch), -1)
    return changes.cumsum(axis=0)[:reach] > 0


def _references(
    pitch: np.ndarray, role: np.ndarray, step: np.ndarray, duration: np.ndarray, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What each note is compared with, [N, ...] uint8.

    Pitches: the last of its role, the note before, the last soprano, the last bass, the highest and the lowest held,
    the last but one of its role; the last two that sounded above all others, and the last that did below.
    Duration classes: the last of its role, that of the note before in its chord, and of the note before that.
    """
    found = np.full((len(pitch), NUM_REFERENCES), NUM_PITCHES, np.uint8)
    lengths = np.full((len(pitch), NUM_DURATION_REFERENCES - 1), NUM_DURATIONS, np.uint8)
    last, second = (np.full(NUM_ROLES, NUM_PITCHES, np.uint8) for _ in range(2))
    last_duration = np.full(NUM_ROLES, NUM_DURATIONS, np.uint8)
    any_held = held.any(axis=1)
    highest = np.where(any_held, NUM_PITCHES - 1 - held[:, ::-1].argmax(axis=1), NUM_PITCHES)
    lowest = np.where(any_held, held.argmax(axis=1), NUM_PITCHES)
    rows = zip(pitch.tolist(), role.tolist(), step.tolist(), duration.tolist(), strict=True)
    before, chord = NUM_PITCHES, [NUM_DURATIONS, NUM_DURATIONS]
    melody = melody_before = bass = NUM_PITCHES
    for n, (p, r, _, d) in enumerate(rows):
        if r == 0:
            chord = [NUM_DURATIONS, NUM_DURATIONS]
        found[n] = last[r], before, last[0], last[1], highest[n], lowest[n], second[r], melody, melody_before, bass
        lengths[n] = last_duration[r], *chord
        if p < NUM_PITCHES:
            before, chord = p, [d, chord[0]]
            second[r], last[r], last_duration[r] = last[r], p, d
            if is_melody(r, p, highest[n]):
                melody, melody_before = p, melody
            if is_bass(r, p, lowest[n]):
                bass = p
            if r == 0 and last[1] == NUM_PITCHES:  # A single note may be the bass too, until a bass follows.
                last[1] = p
    return found, lengths


def whole(piece: NotePiece, lines: np.ndarray, round_to: int = 1) -> Crops:
    """Returns a piece as one crop, with all of its phrases; its length is padded to a multiple."""
    features = make_features(piece)
    length = -(-len(features["pitch"]) // round_to) * round_to
    return crop(features, piece, lines, length, length, piece.num_phrases)


def crop(
    features: dict[str, np.ndarray],
    piece: NotePiece,
    lines: np.ndarray,
    length: int,
    hop: int,
    max_phrases: int = MAX_PHRASES,
) -> Crops:
    """Cuts crops of `length` tokens and so many phrases: every `hop` tokens, and the end of the piece."""
    total = len(features["pitch"])
    starts = list(range(0, max(total - length, 0) + 1, hop))
    if starts[-1] + length < total:
        starts.append(total - length)
    rows = np.array(starts)[:, None] + np.arange(length)
    is_there = rows < total
    rows = np.minimum(rows, total - 1)
    cut = {name: values[rows] for name, values in features.items()}
    cut["kind"] = np.where(is_there, cut["kind"], PADDING).astype(np.uint8)
    cut["phrase"] = np.minimum(cut["phrase"] - cut["phrase"][:, :1], max_phrases - 1).astype(np.int16)
    style = np.tile(measure_style(piece), (len(starts), 1))
    repeated = np.tile(lines, (len(starts), 1, 1))
    return Crops(**cut, style=style, lines=repeated, minor=np.full(len(starts), piece.minor))
