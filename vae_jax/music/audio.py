"""Scores as sound: additive synthesis with a timbre for every part, drums as filtered noise, WAV files of 16 bits.

This is no library's, because symusic and FluidSynth need a sound font: one to download, or that of pretty_midi, which
is under the GPL (and `Synthesizer.render` of symusic 0.6.0 fails); `PrettyMIDI.synthesize` leaves out drums and gives
every instrument one wave; libsonare 1.9 takes 20 to 40 s for a piece of 90 s and has no wheels for Windows.
"""

import dataclasses
import functools
import os
import wave

import numpy as np

from vae_jax.music import instruments
from vae_jax.music.score import Score

SAMPLE_RATE = 44_100  # Hertz.
TAIL_SEC = 2.0  # After the end of the last note: every sound has died away by then.
MAX_MINUTES, MAX_NOTE_MINUTES = 30, 1000  # Of a piece, and of its notes added up: bounds on memory and time.
_LEAST_SEC = 0.2  # What a note costs however short it is.
_PEAK = 0.9  # Of the loudest sample; 1 would be the largest number of 16 bits.
_BLOCK = 10 * SAMPLE_RATE  # Samples of a note that are made at once.


class AudioError(ValueError):
    """A score that is too long to be rendered; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Timbre:
    """The sound of a part."""

    harmonics: tuple[float, ...]  # Their amplitudes.
    attack: float  # Seconds, as are decay and release.
    decay: float
    sustain: float  # The level that a note decays to.
    release: float
    gain: float

    def envelope(self, since_onset: np.ndarray, duration: float) -> np.ndarray:
        """Amplitudes of a note so many seconds after its onset, of the same shape."""
        decay = np.exp(-3 / self.decay * np.maximum(since_onset - self.attack, 0))
        release = np.exp(-3 / self.release * np.maximum(since_onset - max(duration, self.attack), 0))
        return np.minimum(since_onset / self.attack, 1) * (self.sustain + (1 - self.sustain) * decay) * release


TIMBRES = (  # Of the pitched parts, in the order of `instruments.PART_NAMES`; a run's page plays them too.
    Timbre((1, 0.65, 0.5, 0.34, 0.22, 0.13, 0.07), 0.03, 0.2, 0.75, 0.09, 0.9),
    Timbre((1, 0.85, 0.7, 0.45, 0.3, 0.18, 0.1, 0.05), 0.045, 0.3, 0.7, 0.12, 0.95),
    Timbre((1, 0.5, 0.34, 0.26, 0.2, 0.16, 0.12, 0.1), 0.09, 0.3, 0.85, 0.2, 0.7),
    Timbre((1, 0.6, 0.38, 0.25, 0.18, 0.12, 0.08), 0.08, 0.3, 0.85, 0.2, 0.95),
    Timbre((1, 0.45, 0.28, 0.16, 0.1, 0.07, 0.04), 0.004, 1.1, 0.0, 0.12, 1.1),
    Timbre((1, 0.8, 0.05, 0.55, 0, 0, 0, 0.35), 0.015, 0.1, 0.9, 0.06, 0.6),
    Timbre((1, 0.6, 0.25, 0.1, 0.05), 0.006, 0.8, 0.25, 0.08, 1.3),
)
_KICKS = (35, 36, 41, 43, 45, 47, 48, 50)  # And toms; drums of General MIDI, like the seconds that cymbals ring.
_RINGING = {42: 0.05, 44: 0.05, 46: 0.3, 49: 0.9, 51: 0.4, 52: 0.9, 53: 0.4, 55: 0.6, 57: 0.9, 59: 0.4}


def render(score: Score) -> np.ndarray:
    """Returns the sound of a score, float32 [samples] with a peak of 0.9, or silence if it has no notes; it goes on for
    TAIL_SEC after the last note. Raises AudioError where the score is too long."""
    notes, onsets = score.notes, score.seconds(score.notes.onset_ticks)
    durations = score.seconds(notes.end_ticks) - onsets
    minutes, note_minutes = score.duration_sec / 60, float((durations + _LEAST_SEC).sum()) / 60
    if minutes > MAX_MINUTES:
        raise AudioError(f"lasts {minutes:,.0f} minutes; at most {MAX_MINUTES} are rendered to audio")
    if note_minutes > MAX_NOTE_MINUTES:
        raise AudioError(f"its notes add up to {note_minutes:,.0f} minutes; at most {MAX_NOTE_MINUTES} are rendered")
    audio = np.zeros(round((score.duration_sec + TAIL_SEC) * SAMPLE_RATE), np.float32)
    columns = (instruments.assign_parts(score), notes.pitch, notes.velocity, onsets, durations)
    for part, pitch, velocity, onset, duration in zip(*(column.tolist() for column in columns), strict=True):
        start, level = round(onset * SAMPLE_RATE), (velocity / 127) ** 1.3
        if part == instruments.DRUMS:
            hit = _make_hit(pitch)
            audio[start : start + len(hit)] += level * hit
        else:
            _add_tone(audio[start:], TIMBRES[part], pitch, level, duration)
    audio *= _PEAK / max(float(audio.max(initial=0)), -float(audio.min(initial=0)), 1e-9)
    return audio


def save(score: Score, path: str | os.PathLike[str]) -> None:
    """Renders a score as a WAV file, mono, 16 bits a sample. Raises AudioError as `render`."""
    audio = render(score)
    audio *= 0x7FFF
    samples = audio.astype("<i2")
    with open(path, "wb") as file, wave.open(file, "wb") as written:
        written.setparams((1, 2, SAMPLE_RATE, len(samples), "NONE", ""))
        written.writeframes(samples.data.cast("B"))


def _add_tone(audio: np.ndarray, timbre: Timbre, pitch: int, level: float, duration: float) -> None:
    """Adds a note to what sounds from its onset on."""
    periods = _make_periods(timbre, pitch)
    size = round((max(duration, timbre.attack) + 2 * timbre.release) * SAMPLE_RATE)
    for first in range(0, size, _BLOCK):
        n = np.arange(first, min(first + _BLOCK, size))
        envelope = timbre.envelope((n / SAMPLE_RATE).astype(np.float32), duration)
        audio[first : first + len(n)] += level * periods[n % len(periods)] * envelope


@functools.lru_cache(maxsize=len(TIMBRES) * 128)
def _make_periods(timbre: Timbre, pitch: int) -> np.ndarray:
    """About a fifth of a second of a steady tone, a whole number of periods and of samples, float32 [samples]."""
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    num_periods = max(round(frequency / 5), 1)
    size = round(num_periods * SAMPLE_RATE / frequency)
    phase = 2 * np.pi * num_periods * np.arange(size) / size
    audible = timbre.harmonics[: int(SAMPLE_RATE / 2 // frequency)]  # Higher ones would alias.
    tone = np.sum([a * np.sin(k * phase) for k, a in enumerate(audible, 1)], axis=0)
    return (timbre.gain * tone / np.abs(tone).max()).astype(np.float32)


@functools.lru_cache(maxsize=128)
def _make_hit(pitch: int) -> np.ndarray:
    """Noise around the frequency of a drum, which dies away, float32 [samples]; the same at every call."""
    ring, (hertz, octaves, gain) = 0.16, (1700, 1.2, 1.0)
    if pitch in _KICKS:
        ring, (hertz, octaves, gain) = 0.12, (90 + 4 * (pitch - 35), 0.3, 1.5)
    elif pitch in _RINGING:
        ring, (hertz, octaves, gain) = _RINGING[pitch], (9000, 0.6, 0.6)
    seconds = np.arange(round(2 * ring * SAMPLE_RATE)) / SAMPLE_RATE
    spectrum = np.fft.rfft(np.random.default_rng(pitch).normal(size=len(seconds)))
    distance = np.log2(np.maximum(np.fft.rfftfreq(len(seconds), 1 / SAMPLE_RATE), 1) / hertz) / octaves
    hit = np.fft.irfft(spectrum * np.exp(-(distance**2) / 2), len(seconds)) * np.exp(-3 / ring * seconds)
    return (gain * hit / np.abs(hit).max()).astype(np.float32)
