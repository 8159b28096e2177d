"""The statistics of the table, in its order, and all descriptions of a piece by view."""

from vae_jax.evaluation.musicology import form, harmony, melody, tracks
from vae_jax.evaluation.musicology.voices import Voices

# What each is called in the table; the functions named `describe_*` define them. Shares, unless a unit is given.
STATISTICS = {
    "melody_steps": "melody: steps among moves",
    "melody_octave_leaps": "melody: leaps over an octave among moves",
    "melody_leap_recovery": "melody: leaps answered by a step back",
    "melody_direction_changes": "melody: changes of direction",
    "melody_range": "melody: range (semitones)",
    "melody_in_scale": "melody: notes of the scale",
    "melody_leading_tone": "melody: leading tones that rise to the tonic",
    "melody_length_entropy": "melody: entropy of note lengths (bits)",
    "melody_phrase_ends": "phrases end on a note of the tonic chord",
    "bass_steps": "bass: steps among moves by beat",
    "bass_octave_leaps": "bass: leaps of an octave and more among moves",
    "bass_moves": "bass: beats with another note",
    "bass_is_root": "bass: beats with the root",
    "roots_by_fifth": "roots that change by a fifth",
    "harmonic_rhythm": "beats with another root",
    "dominant_chords": "beats on the dominant",
    "strong_clashes": "strong beats with a semitone clash",
    "strong_without_chord": "strong beats without a chord",
    "strong_non_chord_tones": "non-chord tones on strong beats",
    "parallel_fifths": "outer voices: parallel fifths",
    "parallel_octaves": "outer voices: parallel octaves",
    "contrary_motion": "outer voices: contrary motion",
    "melody_distinct_bars": "distinct bars of melody",
    "melody_returns_1": "bars of melody that return",
    "melody_returns_2": "two bars of melody that return",
    "melody_returns_4": "four bars of melody that return",
    "rhythm_returns_2": "two bars of rhythm that return",
    "melody_sequences": "bars of melody in sequence",
    "phrase_lengths_even": "phrases of an even number of bars",
    "upbeat": "pieces with an upbeat",
    "ends_dominant_tonic": "pieces that end V-I",
    "ends_on_tonic": "last melody note is the tonic",
    "ends_on_strong_beat": "last note starts on a strong beat",
    "crossings": "crossings of neighbouring tracks",
    "octave_doublings": "melody doubled in octaves",
    "unison_doublings": "notes doubled in unison",
    "tracks": "tracks",
    "track_interval": "mean interval within a track (semitones)",
    "velocity_sd": "standard deviation of velocity in a track",
    "velocity_track_sd": "standard deviation of velocity of tracks",
}


def describe(voices: Voices) -> dict[str, dict[str, float]]:
    """Returns the statistics of a piece, and of voices what only the two-sample tests use, by view and name; NaN for
    one that the piece does not have."""
    return {
        "melody": melody.describe_melody(voices),
        "bass": harmony.describe_bass(voices),
        "harmony": harmony.describe_harmony(voices),
        "structure": form.describe_form(voices),
        "texture": tracks.describe_texture(voices),
        "performance": tracks.describe_performance(voices),
    }
