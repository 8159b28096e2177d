"""Crops: stretches of a piece's notes as tokens, with what is known at each of them."""

from typing import Generic, NamedTuple, TypeVar

import jax
import numpy as np

from vae_jax.composer import counts
from vae_jax.composer.notes import (
    ENDING_BARS,
    MAX_GAP,
    MELODY,
    NUM_DURATION_REFERENCES,
    NUM_DURATIONS,
    NUM_MOVES,
    NUM_PITCHES,
    NUM_REFERENCES,
    NUM_ROLES,
    NotePiece,
    chords_at,
    in_order,
    lags_at,
    measure_style,
    place_at,
    plan_features,
)
from vae_jax.representations.pianoroll.durations import DURATION_STEPS, duration_classes

A = TypeVar("A", np.ndarray, jax.Array)

MAX_PHRASES = 64  # In a crop.
START, NOTE, END, PADDING = range(4)  # Kinds of tokens.


class Crops(NamedTuple, Generic[A]):
    """Crops of N tokens; the first only conditions the rest. A piece is a start twice, its notes, and an end."""

    kind: A  # uint8 [N]
    step: A  # int32 [N], from the start of the piece.
    pitch: A  # uint8 [N]; NUM_PITCHES where there is no note.
    duration: A  # uint8 [N], class.
    role: A  # uint8 [N], 0 in the first note of a chord.
    gap: A  # uint8 [N], steps to the next chord, at most MAX_GAP; MAX_GAP + 1 where none follows.
    position: A  # uint8 [N], steps since the bar line.
    bar: A  # uint8 [N], steps of the bar.
    left: A  # uint16 [N], steps to the last chord of the piece, which is planned.
    hyper: A  # uint8 [N], bar modulo HYPER_BARS.
    phrase: A  # int16 [N], number of the phrase in the crop.
    references: A  # uint8 [N, NUM_REFERENCES], see `_references`.
    moves: A  # int32 [N, NUM_MOVES], counts so far, the arguments of `notes.motion_style`.
    lengths: A  # uint8 [N, NUM_DURATION_REFERENCES], classes of durations to compare with.
    held: A  # uint8 [N, PITCH_BYTES], bits: pitches that have started earlier and still sound.
    aligned: A  # uint8 [N, NUM_LAGS, PITCH_BYTES], bits: pitches that start a lag before.
    aligned_role: A  # uint8 [N, NUM_LAGS], the pitch of this role a lag before.
    aligned_duration: A  # uint8 [N, NUM_LAGS], class of this pitch a lag before.
    aligned_size: A  # uint8 [N, NUM_LAGS], notes that start a lag before.
    # How often each value occurred in each context of the piece so far, uint8 [N, contexts, values], see `counts.pack`:
    pitch_counts: A
    gap_counts: A
    duration_counts: A
    more_counts: A  # Of the role after the token's own.
    onsets: A  # uint8 [N, NUM_LAGS, 13], bits: whether a chord starts a lag before each later step.
    plan: A  # float16 [N, PLAN_SIZE], see `plan_features`.
    chords: A  # uint8 [N, 3], see `notes.chords_at`.
    size: A  # uint8 [N], notes of the chord.
    tracks: A  # uint16 [N], a bit for each line that plays the note.
    style: A  # float32 [STYLE_SIZE]
    lines: A  # float32 [MAX_TRACKS, lines.LINE_SIZE]
    minor: A  # bool
    ending: A  # bool [N], whether the token lies in the last two bars.


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
    position, bar, rest, hyper = place_at(step, piece)
    held = _held(piece)[step]
    references, before, moves = _references(pitch, role, duration, held)
    melodies = references[:, MELODY : MELODY + 2].astype(np.int64)
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
        **_align(piece, step, pitch, role, duration),
        **counts.count_contexts(pitch, role, duration, gap, position, melodies),
        "held": np.packbits(held, axis=-1, bitorder="little"),
        "chords": chords_at(step, piece.harmony),
        "size": np.concatenate([[1, 1], size[np.searchsorted(chords, piece.step)], [1]]),
    }
    to_bar = duration_classes(np.maximum(bar - position, 1))
    return {name: values.astype(np.uint8) for name, values in uint8.items()} | {
        "references": references,
        "moves": moves,
        "lengths": np.concatenate([before, to_bar[:, None].astype(np.uint8)], axis=-1),
        "step": step.astype(np.int32),
        "left": np.clip(piece.last - step, 0, 65535).astype(np.uint16),
        "phrase": np.maximum((step - start) // phrase, 0),
        "plan": plan_features(piece.form.similarity_at(step), piece.form.lag_at(step) > 0).astype(np.float16),
        "tracks": np.concatenate([[0, 0], piece.tracks, [0]]).astype(np.uint16),
        "ending": rest <= ENDING_BARS * piece.bar,
    }


def _align(
    piece: NotePiece, step: np.ndarray, pitch: np.ndarray, role: np.ndarray, duration: np.ndarray
) -> dict[str, np.ndarray]:
    """What starts a lag before each of the tokens [N], and chords a lag before each later step."""
    # What starts at each step, with room to reach past the end.
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
    return {
        "aligned": np.where(valid[..., None], bits[source], 0),
        "aligned_role": np.where(valid, roles[source, role[:, None]], NUM_PITCHES),
        "aligned_duration": np.where(valid, lengths[source, pitch[:, None]], NUM_DURATIONS),
        "aligned_size": np.where(valid, sizes[source], 0),
        "onsets": np.packbits(flags.transpose(0, 2, 1), axis=-1, bitorder="little"),
    }


def _held(piece: NotePiece) -> np.ndarray:
    """Whether a note that started before each step sounds at it, bool [end + 1, NUM_PITCHES]."""
    reach = piece.end + 1
    changes = np.zeros((reach + 1, NUM_PITCHES), np.int32)
    end = np.minimum(piece.step + DURATION_STEPS[duration_classes(piece.duration)], reach)
    np.add.at(changes, (np.minimum(piece.step + 1, end), piece.pitch), 1)
    np.add.at(changes, (end, piece.pitch), -1)
    return changes.cumsum(axis=0)[:reach] > 0


def _references(
    pitch: np.ndarray, role: np.ndarray, duration: np.ndarray, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each note is compared with, [N, ...] uint8.

    Pitches: the last of its role, the note before, the last soprano, the last bass, the highest and the lowest held,
    the last but one of its role; the last two that started above all that was held, and the last one below.
    Duration classes: the last of its role, that of the note before in its chord, and of the note before that.
    """
    found = np.full((len(pitch), NUM_REFERENCES), NUM_PITCHES, np.uint8)
    lengths = np.full((len(pitch), NUM_DURATION_REFERENCES - 1), NUM_DURATIONS, np.uint8)
    last, second = (np.full(NUM_ROLES, NUM_PITCHES, np.uint8) for _ in range(2))
    moves, so_far, direction = np.zeros((len(pitch), NUM_MOVES), np.int32), np.zeros(NUM_MOVES, np.int32), 0
    last_duration = np.full(NUM_ROLES, NUM_DURATIONS, np.uint8)
    any_held = held.any(axis=1)
    highest = np.where(any_held, NUM_PITCHES - 1 - held[:, ::-1].argmax(axis=1), NUM_PITCHES)
    lowest = np.where(any_held, held.argmax(axis=1), NUM_PITCHES)
    rows = zip(pitch.tolist(), role.tolist(), duration.tolist(), strict=True)
    before, chord = NUM_PITCHES, [NUM_DURATIONS, NUM_DURATIONS]
    melody = melody_before = bass = NUM_PITCHES
    for n, (p, r, d) in enumerate(rows):
        if r == 0:
            chord = [NUM_DURATIONS, NUM_DURATIONS]
        found[n] = last[r], before, last[0], last[1], highest[n], lowest[n], second[r], melody, melody_before, bass
        lengths[n] = last_duration[r], *chord
        moves[n] = so_far
        if p < NUM_PITCHES:
            before, chord = p, [d, chord[0]]
            if r == 1 and max(second[0], last[1]) < NUM_PITCHES:
                motion = (int(last[0]) - int(second[0])) * (p - int(last[1]))
                so_far[-2:] += motion != 0, motion < 0
            second[r], last[r], last_duration[r] = last[r], p, d
            if counts.is_melody(r, p, highest[n]):
                if melody < NUM_PITCHES:
                    by = p - melody
                    so_far[:-2] += (1, by != 0, 0 < abs(by) <= 2, by * direction < 0)
                    direction = by or direction
                melody, melody_before = p, melody
            if counts.is_bass(r, p, lowest[n]):
                bass = p
            if r == 0 and last[1] == NUM_PITCHES:  # A single note may be the bass too, until a bass follows.
                last[1] = p
    return found, lengths, moves


def whole(piece: NotePiece, lines: np.ndarray, round_to: int = 1) -> Crops[np.ndarray]:
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
) -> Crops[np.ndarray]:
    """Cuts crops of `length` tokens and so many phrases: every `hop` tokens, and the end of the piece."""
    total = len(features["pitch"])
    starts = list(range(0, max(total - length, 0) + 1, hop))
    if starts[-1] + length < total:
        starts.append(total - length)
    rows = np.array(starts)[:, None] + np.arange(length)
    is_there = rows < total
    rows = np.minimum(rows, total - 1)
    packed = {name: counts.pack(features[name]) for name in counts.FIELDS}
    cut = {name: values[rows] for name, values in (features | packed).items()}
    cut["kind"] = np.where(is_there, cut["kind"], PADDING).astype(np.uint8)
    cut["phrase"] = np.minimum(cut["phrase"] - cut["phrase"][:, :1], max_phrases - 1).astype(np.int16)
    style = np.tile(measure_style(piece), (len(starts), 1))
    repeated = np.tile(lines, (len(starts), 1, 1))
    return Crops(**cut, style=style, lines=repeated, minor=np.full(len(starts), piece.minor))
