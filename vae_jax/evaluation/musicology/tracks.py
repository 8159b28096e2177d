"""Statistics of tracks: how many, how each moves, how they cross and double each other, how loud they play."""

import itertools

import numpy as np

from vae_jax.evaluation.musicology.shares import mean, share, spread
from vae_jax.evaluation.musicology.voices import Voices, top_of


def describe_texture(voices: Voices) -> dict[str, float]:
    """Returns the statistics of how tracks go together by name; NaN where there are too few.

    unison_doublings: notes of one start and pitch that two tracks or more play.
    octave_doublings: notes of the melody with which a note one or two octaves below starts.
    crossings: of the quarter notes on which two tracks next to each other in mean pitch sound, those on which the lower
      one is above the other.
    """
    cells, counts = np.unique(np.stack([voices.start, voices.pitch]), axis=1, return_counts=True)
    started = set(zip(*cells.tolist(), strict=True))
    melody = zip(*(column.tolist() for column in voices.melody), strict=True)
    doubled = np.array([(start, pitch - 12) in started or (start, pitch - 24) in started for start, pitch in melody])
    lines = np.unique(voices.line)
    height = [voices.pitch[voices.line == line].mean() for line in lines]
    tops = [top_of(voices.sounding(voices.beats[:-1], line)) for line in lines[np.argsort(height, kind="stable")]]
    crossed = [(lower > upper)[(lower >= 0) & (upper >= 0)] for lower, upper in itertools.pairwise(tops)]
    return {
        "unison_doublings": share(counts > 1),
        "octave_doublings": share(doubled),
        "crossings": share(np.concatenate([np.zeros(0, dtype=bool), *crossed])),
    }


def describe_performance(voices: Voices) -> dict[str, float]:
    """Returns the statistics of each track on its own by name; NaN without notes.

    tracks: pairs of track and channel with notes, without drums and timpani.
    track_interval: mean size of the intervals between the top notes of a track's starts, repeated ones too, semitones.
    velocity_sd: standard deviation of the velocities of a track, mean over tracks.
    velocity_track_sd: standard deviation of the tracks' mean velocities.
    """
    lines = np.unique(voices.line)
    intervals, deviations, means = [np.zeros(0)], [], []
    for line in lines:
        mine = voices.line == line
        _, first = np.unique(voices.start[mine], return_index=True)
        intervals.append(np.abs(np.diff(np.maximum.reduceat(voices.pitch[mine], first))))
        deviations.append(spread(voices.velocity[mine]))
        means.append(mean(voices.velocity[mine]))
    return {
        "tracks": float(len(lines)) if len(lines) else np.nan,
        "track_interval": mean(np.concatenate(intervals)),
        "velocity_sd": mean(np.array(deviations)),
        "velocity_track_sd": spread(np.array(means)),
        "velocity_mean": mean(voices.velocity),
    }
