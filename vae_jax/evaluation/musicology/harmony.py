"""Statistics of bass and harmony, by quarter notes."""

import numpy as np

from vae_jax.evaluation.musicology.shares import mean, share
from vae_jax.evaluation.musicology.voices import Voices, bottom_of, top_of
from vae_jax.music.chords import estimate_chords, is_chord

_FIFTHS = (5, 7)  # Semitones up: a fourth is a fifth down.


def describe_bass(voices: Voices) -> dict[str, float]:
    """Returns the statistics of the lowest pitch of each quarter note by name; NaN where there are too few.

    bass_steps, bass_fifths, bass_octave_leaps: moves of up to 2, of 5 or 7, of 12 semitones and more.
    bass_moves: quarter notes with another bass note than the one before.
    bass_is_root: quarter notes whose bass note is the root of the chord.
    """
    beats = voices.beats
    bass = bottom_of(voices.sounding(beats[:-1]))
    chords = estimate_chords(voices.pitch_class_weights(beats))
    both = (bass >= 0) & (chords.root >= 0)
    sounding = bass[bass >= 0]
    intervals = np.diff(sounding)
    size = np.abs(intervals[intervals != 0])
    return {
        "bass_steps": share(size <= 2),
        "bass_fifths": share(np.isin(size, _FIFTHS)),
        "bass_octave_leaps": share(size >= 12),
        "bass_moves": share(intervals != 0),
        "bass_is_root": share(bass[both] % 12 == chords.root[both]),
        "bass_rising": share(intervals[intervals != 0] > 0),
        "bass_interval_mean": mean(np.abs(intervals)),
        "bass_range": float(np.ptp(sounding)) if len(sounding) else np.nan,
    }


def describe_harmony(voices: Voices) -> dict[str, float]:
    """Returns the statistics of chords and outer voices by name; NaN where there are too few.

    roots_by_fifth, roots_by_third, roots_by_step: changes of root by 5 or 7, by 3, 4, 8 or 9, by 1, 2, 10 or 11
      semitones.
    harmonic_rhythm: quarter notes with another root than the one before.
    tonic_chords, dominant_chords: quarter notes with the root on the tonic, on the fifth of the key.
    strong_clashes: strong beats on which two pitch classes a semitone apart sound.
    strong_without_chord: strong beats on which what sounds lies in no triad and no seventh chord.
    strong_non_chord_tones: pitch classes on strong beats that do not belong to the chord of the quarter note.
    parallel_fifths, parallel_octaves: of the pairs of quarter notes between which melody and bass both move, those
      that are a fifth or an octave (with octaves between) apart in both.
    contrary_motion: such pairs in which they move in opposite directions.
    """
    beats = voices.beats
    chords = estimate_chords(voices.pitch_class_weights(beats))
    roots = chords.root[chords.root >= 0]
    change = np.diff(roots) % 12
    changes = change[change != 0]
    degree = (roots - voices.tonic.pitch_class) % 12
    found = {
        "roots_by_fifth": share(np.isin(changes, _FIFTHS)),
        "roots_by_third": share(np.isin(changes, (3, 4, 8, 9))),
        "roots_by_step": share(np.isin(changes, (1, 2, 10, 11))),
        "harmonic_rhythm": share(change != 0),
        "tonic_chords": share(degree == 0),
        "dominant_chords": share(degree == 7),
    }
    at_strong = voices.sounding(voices.strong)
    filled = at_strong.any(axis=1)
    at_strong, times = at_strong[filled], voices.strong[filled]
    pitch_classes = np.stack([at_strong[:, n::12].any(axis=1) for n in range(12)], axis=1)
    members = chords.members[np.searchsorted(beats, times, side="right") - 1]
    foreign = (pitch_classes & ~members).sum(axis=1) / np.maximum(pitch_classes.sum(axis=1), 1)
    return (
        found
        | {
            "strong_clashes": share(np.any(pitch_classes & np.roll(pitch_classes, 1, axis=1), axis=1)),
            "strong_without_chord": share(~is_chord(pitch_classes)),
            "strong_non_chord_tones": mean(foreign),
        }
        | _describe_outer_voices(voices)
    )


def _describe_outer_voices(voices: Voices) -> dict[str, float]:
    sounding = voices.sounding(voices.beats[:-1])
    sounding = sounding[sounding.sum(axis=1) >= 2]
    top, bottom = top_of(sounding), bottom_of(sounding)
    moves = np.stack([np.diff(top), np.diff(bottom)])
    both = np.all(moves != 0, axis=0)
    apart = (top - bottom) % 12

    def parallel(interval: int) -> float:
        return share(((apart[1:] == interval) & (apart[:-1] == interval))[both])

    return {
        "parallel_fifths": parallel(7),
        "parallel_octaves": parallel(0),
        "contrary_motion": share((np.sign(moves[0]) != np.sign(moves[1]))[both]),
        "outer_distance": mean(top - bottom),
    }
