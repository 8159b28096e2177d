"""Features of a piece by which generated music is compared with real music, on the bar grid.

Sources of the standard features: MusPy (Dong et al. 2020, "MusPy: a toolkit for symbolic music generation"), MuseGAN
(Dong et al. 2018), Jazz Transformer (Wu and Yang 2020). The two-sample tests take these, some sixty more and the
statistics of `musicology`. None depends on the key (but that the register of a string track decides its instrument
group), the tempo, track names or the file's resolution. All here are finite; one without a value for a piece, such as
the mean length of no notes, is 0. Lengths are in beats (quarter notes), their logarithms in octaves (log2).
"""

import numpy as np

from vae_jax.evaluation.bar_grid import NUM_PITCHES, STEPS_PER_BEAT, BarGrid
from vae_jax.music import instruments, key
from vae_jax.music.theory import MAJOR_SCALE, MAJOR_TRIAD, MINOR_SCALE, MINOR_TRIAD
from vae_jax.representations.pianoroll.encoding import DURATION, PART, STEP

FEATURES = (
    "pitch_class_entropy",
    "scale_consistency",
    "groove_consistency",
    "polyphony",
    "note_density",
    "empty_bar_rate",
    "qualified_note_rate",
    "bar_self_similarity",
)

# Positions in a beat of twelve steps; what is none of these is "other".
_BEAT_POSITIONS = {"beat": (0,), "eighth": (6,), "sixteenth": (3, 9), "triplet": (4, 8)}
_MAX_NOTE_BEATS = 16  # Longer ones count as so long: a ratio of durations has a long tail.


def piece_features(grid: BarGrid) -> dict[str, float]:
    """Returns the features named in `FEATURES`, in that order; without notes all are 0 but `empty_bar_rate`, 1.

    pitch_class_entropy: -sum p log2 p of the pitch classes' shares of the notes, in bits (Wu and Yang 2020); 0..3.58.
    scale_consistency: the largest share of the notes that lies in one of the twelve diatonic scales (MusPy; a natural
      minor scale holds the notes of its relative major).
    groove_consistency: the mean over pairs of bars of one meter and length of the share of their steps at which both or
      neither has an onset (Wu and Yang 2020, equation 3, with twelve steps to the beat in place of 64 to the bar).
    polyphony: the mean number of pitches that sound, over the steps at which any does (MusPy).
    note_density: notes per beat (quarter note), from the first bar line to the last; unisons count once.
    empty_bar_rate: the share of the bars in which no pitched note sounds (MuseGAN, with the tracks merged).
    qualified_note_rate: the share of the notes that last a 32nd note or longer (MuseGAN).
    bar_self_similarity: the mean over bars of the best F1 of onset cells (step in the bar and pitch) with an earlier,
      not adjacent bar of the same meter and length. Bars without onsets and bars with nothing to compare with do not
      count.
    """
    if not len(grid.step):
        return dict.fromkeys(FEATURES, 0.0) | {"empty_bar_rate": 1.0}
    pitch_classes = np.bincount(grid.pitch % 12, minlength=12)
    events, sounding = grid.sounding()
    num_sounding, length = sounding.sum(axis=1), np.diff(events)
    started_by_end = np.searchsorted(grid.step, grid.bars[1:])
    ended_by_start = np.searchsorted(np.sort(grid.end), grid.bars[:-1], side="right")
    values = (
        _entropy_bits(pitch_classes / len(grid.pitch)),
        max(pitch_classes[(np.array(MAJOR_SCALE) + root) % 12].sum() for root in range(12)) / len(grid.pitch),
        _groove_consistency(grid),
        (num_sounding * length).sum() / length[num_sounding > 0].sum(),
        len(grid.step) / (grid.bars[-1] / STEPS_PER_BEAT),
        np.mean(started_by_end == ended_by_start),
        np.mean(grid.duration >= STEPS_PER_BEAT / 8),
        _bar_self_similarity(grid),
    )
    return {name: float(value) for name, value in zip(FEATURES, values, strict=True)}


def grid_features(grid: BarGrid) -> dict[str, dict[str, float]]:
    """Returns the features of a piece by view and name, the same in the same order for every piece.

    Drums count in `share_drums`, `num_parts` and `drum_hits_per_beat` only.
    """
    standard = piece_features(grid)
    harmony = {name: standard[name] for name in ("pitch_class_entropy", "scale_consistency")}
    structure = {"bar_self_similarity": standard["bar_self_similarity"]}
    texture_names = ("groove_consistency", "polyphony", "note_density", "empty_bar_rate")
    texture = {name: standard[name] for name in texture_names} | _register(grid) | _chord_sizes(grid) | _rhythm(grid)
    performance = {"qualified_note_rate": standard["qualified_note_rate"]}
    return {
        "harmony": harmony | _pitch_classes(grid) | _harmony(grid),
        "structure": structure | _form(grid) | _ending(grid),
        "texture": texture,
        "performance": performance | _durations(grid) | _instruments(grid),
    }


def overlapping_area(a: np.ndarray, b: np.ndarray) -> float | None:
    """Returns the area under the lower of the densities of two samples [N] and [M], from 0 (disjoint) to 1 (equal).

    Source: Yang and Lerch 2020, but of the feature itself, not of distances between pieces. Both densities are Gaussian
    kernel estimates on one grid, with one bandwidth: Scott's rule for the smaller sample and the mean of the two
    variances. With separate bandwidths, a sample of equal values would have no overlap with a sample most of which has
    that value. None where a sample has fewer than two values.
    """
    if min(len(a), len(b)) < 2:
        return None
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    if low == high:
        return 1.0
    scott = np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2) * min(len(a), len(b)) ** -0.2
    bandwidth = max(scott, 1e-2 * (high - low))  # Wide enough for the grid's points.
    points = np.linspace(low - 4.0 * bandwidth, high + 4.0 * bandwidth, 512)
    densities = (
        np.exp(-0.5 * ((points[:, None] - values) / bandwidth) ** 2).sum(axis=1)
        / (len(values) * bandwidth * np.sqrt(2 * np.pi))
        for values in (a, b)
    )
    return float(min(np.trapezoid(np.minimum(*densities), points), 1.0))


def _groove_consistency(grid: BarGrid) -> float:
    rhythms, lengths = grid.bar_rhythms(), np.diff(grid.bars)
    agreement, num_pairs = 0.0, 0.0
    for kind in np.unique(grid.bar_kind):
        mine = grid.bar_kind == kind
        count, num_bars = rhythms[mine].sum(axis=0), mine.sum()
        pairs = num_bars * (num_bars - 1) / 2
        # At each step, every bar with an onset differs from every bar without one.
        agreement += pairs - np.sum(count * (num_bars - count)) / lengths[mine][0]
        num_pairs += pairs
    return agreement / num_pairs if num_pairs else 0.0


def _bar_self_similarity(grid: BarGrid) -> float:
    similar = grid.bar_similarity().tocoo()
    earlier = similar.col <= similar.row - 2
    best = np.zeros(grid.num_bars)
    np.maximum.at(best, similar.row[earlier], similar.data[earlier])
    filled = np.flatnonzero(grid.onsets_per_bar)
    filled = filled[np.argsort(grid.bar_kind[filled], kind="stable")]
    _, first, of_bar = np.unique(grid.bar_kind[filled], return_index=True, return_inverse=True)
    bars = filled[filled >= filled[first][of_bar] + 2]
    return best[bars].mean() if len(bars) else 0.0


def _register(grid: BarGrid) -> dict[str, float]:
    """Pitches counted from the estimated tonic nearest to C, so a transposition may move the mean by octaves."""
    height = grid.pitch + key.semitones_to(grid.tonic)
    return {"pitch_mean": _mean(height), "pitch_sd": _sd(height), "pitch_range": np.ptp(height) if len(height) else 0.0}


def _pitch_classes(grid: BarGrid) -> dict[str, float]:
    """Pitch classes counted from the estimated tonic."""
    degree = (grid.pitch - grid.tonic.pitch_class) % 12
    scale = np.isin(degree, MINOR_SCALE if grid.tonic.minor else MAJOR_SCALE)
    onsets = grid.onsets_per_bar
    in_scale = np.bincount(grid.bar_of(grid.step[scale]), minlength=grid.num_bars)
    return {
        "is_minor": float(grid.tonic.minor),
        "tonic_correlation": grid.tonic.correlation,
        "out_of_scale": _mean(~scale),
        "out_of_scale_bar_sd": _sd(in_scale[onsets > 0] / onsets[onsets > 0]),
    } | {f"pitch_class_{n}": share for n, share in enumerate(_shares(degree, 12))}


def _sounding_chords(grid: BarGrid) -> np.ndarray:
    """Which pitches sound at each onset step, [S, 128] bool."""
    events, sounding = grid.sounding()
    return sounding[np.searchsorted(events, np.unique(grid.step))]


def _chord_sizes(grid: BarGrid) -> dict[str, float]:
    """How many pitches sound at each onset, and how many start there ("onset_chord")."""
    size, starting = _sounding_chords(grid).sum(axis=1), np.unique(grid.step, return_counts=True)[1]
    return {
        "chord_size_mean": _mean(size),
        "chord_size_sd": _sd(size),
        "onset_chord_size_mean": _mean(starting),
        "onset_chord_size_sd": _sd(starting),
    }


def _harmony(grid: BarGrid) -> dict[str, float]:
    """What sounds at each onset: intervals of all pairs, octaves taken off, and pitch classes."""
    chords = _sounding_chords(grid)
    pairs = np.zeros(12)
    for semitones in range(1, 37):  # Up to three octaves.
        pairs[semitones % 12] += np.count_nonzero(chords[:, semitones:] & chords[:, : NUM_PITCHES - semitones])
    pairs /= max(pairs.sum(), 1)
    chroma = np.stack([chords[:, pitch_class::12].any(axis=1) for pitch_class in range(12)], axis=1)
    return {
        "chord_pitch_classes": _mean(chroma.sum(axis=1)),
        "chord_change": _mean((chroma[1:] != chroma[:-1]).sum(axis=1)),
        "consonance": pairs[[0, 3, 4, 5, 7, 8, 9]].sum(),  # Unison, thirds, fourth, fifth, sixths.
    } | {f"harmonic_interval_{n}": share for n, share in enumerate(pairs)}


def _rhythm(grid: BarGrid) -> dict[str, float]:
    """Onset steps of the merged instruments: positions in beat and bar, and the gaps between them (entropy in bits)."""
    onsets = np.unique(grid.step)
    in_bar = onsets - grid.bars[grid.bar_of(onsets)]
    on = {name: np.isin(in_bar % STEPS_PER_BEAT, steps) for name, steps in _BEAT_POSITIONS.items()}
    gaps = np.diff(onsets) / STEPS_PER_BEAT
    logs = np.log2(np.minimum(gaps, _MAX_NOTE_BEATS))
    return {f"onset_on_{name}": _mean(mine) for name, mine in on.items()} | {
        "onset_on_other": _mean(~np.any([*on.values()], axis=0)),
        "onset_on_downbeat": _mean(in_bar == 0),
        "bars_with_downbeat": _mean(np.isin(grid.bars[:-1], onsets)),
        "onsets_per_beat": len(onsets) / max(grid.bars[-1] / STEPS_PER_BEAT, 1),
        "gap_log_mean": _mean(logs),
        "gap_log_sd": _sd(logs),
        "gap_entropy": _entropy_bits(np.unique(gaps, return_counts=True)[1] / max(len(gaps), 1)),
        "gap_repeats": _mean(gaps[1:] == gaps[:-1]),
    }


def _durations(grid: BarGrid) -> dict[str, float]:
    """Lengths of the notes, and as a ratio to the time until the next onset of the same instrument group; silence."""
    logs = np.log2(np.minimum(grid.group_notes[:, DURATION] / STEPS_PER_BEAT, _MAX_NOTE_BEATS))
    notes = grid.group_notes[np.argsort(grid.group_notes[:, PART], kind="stable")]
    positions = notes[:, PART] * (grid.bars[-1] + 1) + notes[:, STEP]
    onsets = np.unique(positions)
    following = np.append(onsets, -1)[np.searchsorted(onsets, positions, side="right")]
    known = following // (grid.bars[-1] + 1) == notes[:, PART]
    ratio = np.minimum(notes[known, DURATION] / (following - positions)[known], 4.0)
    events, sounding = grid.sounding()
    silent_steps = np.diff(events)[~sounding.any(axis=1)].sum()
    return {
        "duration_log_mean": _mean(logs),
        "duration_log_sd": _sd(logs),
        "duration_of_gap_mean": _mean(ratio),
        "duration_of_gap_sd": _sd(ratio),
        "staccato": _mean(ratio <= 0.6),
        "legato": _mean((ratio > 0.9) & (ratio <= 1.0)),
        "overlapping": _mean(ratio > 1.0),
        "silence": silent_steps / max(np.ptp(events), 1) if len(events) else 0.0,
    }


def _instruments(grid: BarGrid) -> dict[str, float]:
    """Each instrument group's share of the notes, and how many groups play a pitch together on average."""
    group = np.concatenate([grid.group_notes[:, PART], np.full(len(grid.drum_step), instruments.DRUMS)])
    names = [f"share_{name.replace(' ', '_')}" for name in instruments.PART_NAMES]
    return dict(zip(names, _shares(group, instruments.NUM_PARTS), strict=True)) | {
        "num_parts": len(np.unique(group)),
        "doubling": len(grid.group_notes) / len(grid.step) if len(grid.step) else 0.0,
        "drum_hits_per_beat": len(grid.drum_step) / max(grid.bars[-1] / STEPS_PER_BEAT, 1),
    }


def _form(grid: BarGrid) -> dict[str, float]:
    """Bars: how many, how long, how full, and how similar to the n-th bar before by F1 of onset cells and by rhythm."""
    beats = np.diff(grid.bars) / STEPS_PER_BEAT
    density = grid.onsets_per_bar / np.maximum(beats, 1e-9)
    varies = len(density) > 1 and np.ptp(density) > 0
    values = {
        "num_bars": grid.num_bars,
        "bar_beats": _mean(beats),
        "bar_density_variation": _sd(density) / max(_mean(density), 1e-9),
        "bar_density_trend": np.corrcoef(np.arange(len(density)), density)[0, 1] if varies else 0.0,
    }
    similar, rhythms, filled = grid.bar_similarity(), grid.bar_rhythms(), grid.onsets_per_bar > 0
    for lag in (1, 2, 4, 8):
        compared = (grid.bar_kind[lag:] == grid.bar_kind[:-lag]) & filled[lag:] & filled[:-lag]
        f1 = similar.diagonal(-lag) if lag < grid.num_bars else np.zeros(0)
        values[f"similarity_lag_{lag}"] = _mean(f1[compared])
        values[f"rhythm_lag_{lag}"] = _mean(np.all(rhythms[lag:] == rhythms[:-lag], axis=1)[compared])
    return values


def _ending(grid: BarGrid) -> dict[str, float]:
    """The chord that sounds at the last onset, and the first and last bar with onsets against the mean bar."""
    names = ("ends_on_triad", "final_log_length", "first_bar", "last_bar")
    if not len(grid.step):
        return dict.fromkeys(names, 0.0)
    last_onset = grid.step.max()
    degrees = np.unique((grid.pitch[grid.end > last_onset] - grid.tonic.pitch_class) % 12)
    final_beats = grid.duration[grid.step == last_onset].max() / STEPS_PER_BEAT
    onsets = np.bincount(grid.bar_of(grid.step))
    values = (
        any(np.isin(degrees, triad).all() for triad in (MAJOR_TRIAD, MINOR_TRIAD)),
        np.log2(final_beats / (grid.duration.mean() / STEPS_PER_BEAT)),
        onsets[0] / onsets.mean(),
        onsets[-1] / onsets.mean(),
    )
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _shares(values: np.ndarray, num_classes: int) -> np.ndarray:
    return np.bincount(values, minlength=num_classes) / max(len(values), 1)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def _sd(values: np.ndarray) -> float:
    return float(np.std(values)) if len(values) else 0.0


def _entropy_bits(shares: np.ndarray) -> float:
    positive = shares[shares > 0]
    return float(np.maximum(-np.sum(positive * np.log2(positive)), 0.0))
