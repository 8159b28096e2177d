"""Parts: eight instrument groups that suit scores for band, orchestra and keyboard alike.

A track belongs to a part as a whole, by the most common program of its notes and, for strings, by its register. Trumpet
and trombone, high and low strings are apart because arrangers let them double each other: two notes of one pitch that
start together can be told apart only in two parts.
"""

import re

import numpy as np

from vae_jax.music.score import Notes, Score

PART_NAMES = ("winds", "low brass", "high strings", "low strings", "keys", "organ", "bass", "drums")
WINDS, LOW_BRASS, HIGH_STRINGS, LOW_STRINGS, KEYS, ORGAN, BASS, DRUMS = range(8)
NUM_PARTS = len(PART_NAMES)
NUM_PITCHED_PARTS = NUM_PARTS - 1

TIMPANI = 47  # A General MIDI program counted from zero, like all here.
_LOW_STRINGS_BELOW = 52  # E below middle C: a string track whose median lies below it plays the bass.
_STRINGS = frozenset([40, 41, 42, 43, 44, 45, *range(48, 56), *range(88, 96)])  # Bowed, ensembles, choirs and pads.

# General MIDI programs counted from zero.
_PROGRAM_RANGES = (
    (0, 16, KEYS),  # Pianos, chromatic percussion.
    (16, 24, ORGAN),  # Organs, accordion, harmonica.
    (24, 32, KEYS),  # Guitars: plucked chords, as the keyboards play them.
    (32, 40, BASS),
    (40, 46, HIGH_STRINGS),
    (46, 47, KEYS),  # Harp.
    (TIMPANI, TIMPANI + 1, BASS),  # Timpani: bass notes on the beat, in pieces that have no bass guitar.
    (48, 56, HIGH_STRINGS),
    (56, 57, WINDS),  # Trumpet.
    (57, 59, LOW_BRASS),  # Trombone, tuba.
    (59, 88, WINDS),  # Muted trumpet, horns, brass sections, reeds, pipes, synthesiser leads.
    (88, 96, HIGH_STRINGS),
    (96, 104, KEYS),
    (104, 112, WINDS),  # Sitar to shanai: they carry the melody.
    (112, 128, KEYS),
)
_PROGRAM_PART = np.concatenate([np.full(end - start, part, dtype=np.int64) for start, end, part in _PROGRAM_RANGES])
_PART_LABEL = re.compile(r"^\[([a-z ]+)\]")


def track_label(part: int, track_name: str) -> str:
    """Names a decoded track: the part in brackets, which `assign_parts` reads, then the original's name."""
    return f"[{PART_NAMES[part]}] {track_name}".rstrip()


def original_name(track_name: str) -> str:
    """Returns a track's name without a part's label."""
    return _PART_LABEL.sub("", track_name, count=1).strip() if _labelled_part(track_name) is not None else track_name


def assign_parts(score: Score) -> np.ndarray:
    """Returns the part of every note, [N] int64 in 0..NUM_PARTS-1, the same within each line (`Notes.line`).

    Channel 10 is drums. Any other line goes by its track's label (see `track_label`), else by program and median pitch.
    """
    programs = line_programs(score)
    parts = np.zeros(len(score.notes), dtype=np.int64)
    for mine in _lines(score.notes):
        notes = score.notes.select(mine)
        parts[mine] = _line_part(notes, int(programs[mine[0]]), score.track_names[notes.track[0]])
    return parts


def line_programs(score: Score) -> np.ndarray:
    """Returns for every note the most common program of its line, the lowest such on a tie, [N] int64."""
    programs = np.zeros(len(score.notes), dtype=np.int64)
    for mine in _lines(score.notes):
        programs[mine] = np.bincount(score.notes.program[mine]).argmax()
    return programs


def _lines(notes: Notes) -> list[np.ndarray]:
    """Indices of the notes of each pair of track and channel."""
    order = np.argsort(notes.line, kind="stable")
    return [mine for mine in np.split(order, np.flatnonzero(np.diff(notes.line[order])) + 1) if len(mine)]


def _line_part(notes: Notes, program: int, track_name: str) -> int:
    if notes.is_drum[0]:
        return DRUMS
    labelled = _labelled_part(track_name)
    if labelled is not None and labelled != DRUMS:
        return labelled
    if program in _STRINGS and np.median(notes.pitch) < _LOW_STRINGS_BELOW:
        return LOW_STRINGS
    return int(_PROGRAM_PART[program])


def _labelled_part(track_name: str) -> int | None:
    label = _PART_LABEL.match(track_name)
    if label is None or label.group(1) not in PART_NAMES:
        return None
    return PART_NAMES.index(label.group(1))
