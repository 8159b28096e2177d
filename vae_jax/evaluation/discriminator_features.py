"""Features by which a classifier tries to tell composed music from real music, whatever its key.

The standard features and some seventy more: pitch, melody, harmony, rhythm, parts, form and ending. None depends on the
key, the tempo, track names or the file's resolution. All are finite; one without a value for a piece, such as the mean
interval of a line of one note, is 0.
"""

from __future__ import annotations

import numpy as np

from vae_jax.evaluation import bar_grid, features
from vae_jax.evaluation.bar_grid import NUM_PITCHES, STEPS_PER_BEAT, BarredPiece
from vae_jax.music import instruments, key
from vae_jax.music.score import Score
from vae_jax.representations.pianoroll.encoding import DURATION, PART, STEP

# Absolute size in semitones of the melodic intervals that are counted together, each from its lowest on.
_INTERVAL_CLASSES = {"repeat": 0, "step": 1, "third": 3, "fourth_fifth": 5, "leap": 8}
# Places in a beat of twelve steps; what is none of these is "other".
_BEAT_POSITIONS = {"beat": (0,), "eighth": (6,), "sixteenth": (3, 9), "triplet": (4, 8)}
_CONSONANCES = (0, 3, 4, 5, 7, 8, 9)  # Unison, thirds, fourth, fifth, sixths, in semitones without octaves.
_BAR_LAGS = (1, 2, 4, 8)
_MAX_NOTE_BEATS = 16  # Longer ones count as so long: a ratio of durations has a long tail.
_MAJOR_TRIAD, _MINOR_TRIAD = (0, 4, 7), (0, 3, 7)
_MINOR_SCALE = (0, 2, 3, 5, 7, 8, 10, 11)  # Natural and harmonic minor together.


def judge_features(score: Score) -> dict[str, float]:
    """Returns the features of a piece by name, the same names in the same order for every piece.

    Pitches are counted from the estimated tonic (`tonic.estimate_tonic`), lengths in beats (quarter notes); "share"
    means of notes unless the name says otherwise. Drums count in `share_drums`, `num_parts` and `drum_hits_per_beat`
    only.
    """
    piece = bar_grid.lay_out(score)
    groups = (_pitch, _melody, _harmony, _rhythm, _durations, _parts, _form, _ending)
    values = features.features_of(piece)
    for group in groups:
        values |= group(piece)
    return {name: float(value) for name, value in values.items()}


def _pitch(piece: BarredPiece) -> dict[str, float]:
    """Pitches from the tonic: where they lie, each pitch class's share, and how many stand outside the scale.

    The mean counts from the tonic nearest to C, so a transposition may move it by octaves. `out_of_scale_bar_sd` is
    large where a piece leaves its key for a few bars.
    """
    height = piece.pitch + key.semitones_to(piece.tonic)
    pitch_classes = _shares((height % 12), 12)
    scale = np.isin(height % 12, _MINOR_SCALE if piece.tonic.minor else features.MAJOR_SCALE)
    onsets = piece.onsets_per_bar
    in_scale = np.bincount(piece.bar[scale], minlength=piece.num_bars)
    return {
        "pitch_mean": _mean(height),
        "pitch_sd": _sd(height),
        "pitch_range": float(np.ptp(height)) if len(height) else 0.0,
        "is_minor": float(piece.tonic.minor),
        "tonic_correlation": piece.tonic.correlation,
        "out_of_scale": _mean(~scale),
        "out_of_scale_bar_sd": _sd(in_scale[onsets > 0] / onsets[onsets > 0]),
    } | {f"pitch_class_{n}": share for n, share in enumerate(pitch_classes)}


def _melody(piece: BarredPiece) -> dict[str, float]:
    """The lines of the highest and of the lowest note at each onset.

    Shares of their intervals by size (repeat, step, third, fourth or fifth, leap), their mean size in semitones, the
    share of the moves that rise, and of those that turn back.
    """
    values: dict[str, float] = {}
    for line, pick in (("top", np.maximum), ("bass", np.minimum)):
        firsts = np.unique(piece.step, return_index=True)[1]
        intervals = np.diff(pick.reduceat(piece.pitch, firsts)) if len(firsts) else np.zeros(0, dtype=np.int64)
        size = np.abs(intervals)
        classes = _shares(np.searchsorted(list(_INTERVAL_CLASSES.values()), size, side="right") - 1, 5)
        values |= {f"{line}_{name}": share for name, share in zip(_INTERVAL_CLASSES, classes, strict=True)}
        moving = intervals[intervals != 0]
        values |= {
            f"{line}_interval_mean": _mean(size),
            f"{line}_rising": _mean(moving > 0),
            f"{line}_turning": _mean(np.sign(moving[1:]) != np.sign(moving[:-1])),
        }
    return values


def _harmony(piece: BarredPiece) -> dict[str, float]:
    """What sounds at each onset, and what starts there ("onset_chord").

    Shares of the intervals between any two pitches that sound together, octaves taken off; the share of the consonant
    ones; the number of pitch classes, and how many of them come or go from one onset to the next.
    """
    events, sounding = piece.sounding()
    chords = sounding[np.searchsorted(events, features.onset_steps(piece))]
    pairs = np.zeros(12)
    for semitones in range(1, 37):
        pairs[semitones % 12] += np.count_nonzero(chords[:, semitones:] & chords[:, : NUM_PITCHES - semitones])
    pairs /= max(pairs.sum(), 1)
    chroma = np.zeros((len(chords), 12), dtype=bool)
    for pitch_class in range(12):
        chroma[:, pitch_class] = chords[:, pitch_class::12].any(axis=1)
    size, together = chords.sum(axis=1), np.unique(piece.step, return_counts=True)[1]
    return {
        "chord_size_mean": _mean(size),
        "chord_size_sd": _sd(size),
        "onset_chord_size_mean": _mean(together),
        "onset_chord_size_sd": _sd(together),
        "chord_pitch_classes": _mean(chroma.sum(axis=1)),
        "chord_change": _mean((chroma[1:] != chroma[:-1]).sum(axis=1)),
        "consonance": pairs[list(_CONSONANCES)].sum(),
    } | {f"harmonic_interval_{n}": share for n, share in enumerate(pairs)}


def _rhythm(piece: BarredPiece) -> dict[str, float]:
    """Onsets of any part, those of one step being one: where they stand in the beat and bar, and the gaps between them.

    Gaps are in beats, their mean and spread in octaves (log2); `gap_entropy` is in bits, `gap_repeats` the share of the
    gaps that equal the one before.
    """
    onsets = features.onset_steps(piece)
    in_bar = onsets - piece.bars[np.searchsorted(piece.bars, onsets, side="right") - 1]
    phase = in_bar % STEPS_PER_BEAT
    at = {name: np.isin(phase, steps) for name, steps in _BEAT_POSITIONS.items()}
    gaps = np.diff(onsets) / STEPS_PER_BEAT
    logs = np.log2(np.minimum(gaps, _MAX_NOTE_BEATS))
    lengths = np.unique(gaps, return_counts=True)[1] / max(len(gaps), 1)
    return {f"onset_on_{name}": _mean(mine) for name, mine in at.items()} | {
        "onset_on_other": _mean(~np.any(list(at.values()), axis=0)),
        "onset_on_downbeat": _mean(in_bar == 0),
        "bars_with_downbeat": _mean(np.isin(piece.bars[:-1], onsets)),
        "onsets_per_beat": len(onsets) / max(piece.bars[-1] / STEPS_PER_BEAT, 1),
        "gap_log_mean": _mean(logs),
        "gap_log_sd": _sd(logs),
        "gap_entropy": features.entropy_bits(lengths),
        "gap_repeats": _mean(gaps[1:] == gaps[:-1]),
    }


def _durations(piece: BarredPiece) -> dict[str, float]:
    """Lengths of the notes in octaves (log2) of a beat, and in shares of the time to the next onset in the same part.

    `silence` is the share of the time from the first onset to the last end in which no pitched note sounds.
    """
    beats = np.minimum(piece.part_notes[:, DURATION] / STEPS_PER_BEAT, _MAX_NOTE_BEATS)
    ratios = [np.zeros(0)]
    for part in np.unique(piece.part_notes[:, PART]):
        mine = piece.part_notes[piece.part_notes[:, PART] == part]
        onsets = np.unique(mine[:, STEP])
        following = np.searchsorted(onsets, mine[:, STEP], side="right")
        inside = following < len(onsets)
        gap = onsets[following[inside]] - mine[inside, STEP]
        ratios.append(mine[inside, DURATION] / gap)
    ratio = np.minimum(np.concatenate(ratios), 4.0)
    events, sounding = piece.sounding()
    silent_steps = np.diff(events)[~sounding.any(axis=1)].sum()
    return {
        "duration_log_mean": _mean(np.log2(beats)),
        "duration_log_sd": _sd(np.log2(beats)),
        "duration_of_gap_mean": _mean(ratio),
        "duration_of_gap_sd": _sd(ratio),
        "staccato": _mean(ratio <= 0.6),
        "legato": _mean((ratio > 0.9) & (ratio <= 1.0)),
        "overlapping": _mean(ratio > 1.0),
        "silence": silent_steps / max(np.ptp(events), 1) if len(events) else 0.0,
    }


def _parts(piece: BarredPiece) -> dict[str, float]:
    """Each part's share of the notes (unisons of one part once), and how many parts play a pitch on average."""
    part = np.concatenate([piece.part_notes[:, PART], np.full(len(piece.drum_step), instruments.DRUMS)])
    shares = _shares(part, instruments.NUM_PARTS)
    names = [name.replace(" ", "_") for name in instruments.PART_NAMES]
    return {f"share_{name}": share for name, share in zip(names, shares, strict=True)} | {
        "num_parts": len(np.unique(part)),
        "doubling": len(piece.part_notes) / len(piece.step) if len(piece.step) else 0.0,
        "drum_hits_per_beat": len(piece.drum_step) / max(piece.bars[-1] / STEPS_PER_BEAT, 1),
    }


def _form(piece: BarredPiece) -> dict[str, float]:
    """Bars: how many, how long, how full, and how like the bars some way back.

    `similarity_lag_n` is the mean F1 of onset cells with the n-th bar before, `rhythm_lag_n` the share of the bars that
    have the same onset steps; bars of other meters or without onsets do not count.
    """
    density = piece.onsets_per_bar / np.maximum(np.diff(piece.bars) / STEPS_PER_BEAT, 1e-9)
    values = {
        "num_bars": float(piece.num_bars),
        "bar_beats": _mean(np.diff(piece.bars) / STEPS_PER_BEAT),
        "bar_density_variation": _sd(density) / max(_mean(density), 1e-9),
        "bar_density_trend": _correlation(np.arange(len(density)), density),
    }
    similar, rhythms = bar_grid.bar_similarity(piece), features.bar_rhythms(piece)
    filled = piece.onsets_per_bar > 0
    for lag in _BAR_LAGS:
        comparable = (piece.bar_kind[lag:] == piece.bar_kind[:-lag]) & filled[lag:] & filled[:-lag]
        alike = np.all(rhythms[lag:] == rhythms[:-lag], axis=1)
        f1 = similar.diagonal(-lag) if lag < piece.num_bars else np.zeros(0)
        values |= {f"similarity_lag_{lag}": _mean(f1[comparable]), f"rhythm_lag_{lag}": _mean(alike[comparable])}
    return values


def _ending(piece: BarredPiece) -> dict[str, float]:
    """The last chord that is struck, with what still sounds, and the first and last bar with onsets against the others.

    The last onset decides, not the last bar line: a note that rings a little longer would make a bar of its own.
    """
    names = ("ends_on_triad", "ends_on_tonic", "top_ends_on_tonic", "final_log_length", "first_bar", "last_bar")
    if not len(piece.step):
        return dict.fromkeys(names, 0.0)
    last_onset = piece.step.max()
    chord = np.sort(piece.pitch[(piece.step <= last_onset) & (piece.end > last_onset)])
    degrees = (chord - piece.tonic.pitch_class) % 12
    final_beats = piece.duration[piece.step == last_onset].max() / STEPS_PER_BEAT
    onsets = np.bincount(piece.bar)
    values = (
        any(np.isin(degrees, triad).all() for triad in (_MAJOR_TRIAD, _MINOR_TRIAD)),
        degrees[0] == 0,
        degrees[-1] == 0,
        np.log2(final_beats / (piece.duration.mean() / STEPS_PER_BEAT)),
        onsets[0] / onsets.mean(),
        onsets[-1] / onsets.mean(),
    )
    return dict(zip(names, map(float, values), strict=True))


def _shares(values: np.ndarray, num_classes: int) -> np.ndarray:
    return np.bincount(values, minlength=num_classes) / max(len(values), 1)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def _sd(values: np.ndarray) -> float:
    return float(np.std(values)) if len(values) else 0.0


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 2 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
