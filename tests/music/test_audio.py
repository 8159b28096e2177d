"""Rendered audio, measured: when it sounds, at which frequency, how loud; and the limits on its length."""

from __future__ import annotations

import pathlib
import wave

import numpy as np
import pytest

from vae_jax.music import audio, instruments
from vae_jax.music.score import Score, Tempo, make_notes, make_score

SILENCE = 1e-3  # Of a peak of 0.9: 59 dB below it.
PROGRAMS = {"winds": 56, "low brass": 57, "high strings": 48, "keys": 0, "organ": 19, "bass": 33}


def level(samples: np.ndarray, start_sec: float, end_sec: float) -> float:
    """The highest amplitude between two times."""
    return float(np.abs(samples[round(start_sec * audio.SAMPLE_RATE) : round(end_sec * audio.SAMPLE_RATE)]).max())


def notes_of(*onsets_sec: float, pitch: int = 69, **columns: int) -> Score:
    """Notes of half a second each, 120 beats a minute."""
    return make_score(1000, make_notes([round(2000 * onset) for onset in onsets_sec], 1000, pitch, **columns))


def read(path: pathlib.Path) -> tuple[wave._wave_params, np.ndarray]:
    with wave.open(str(path)) as file:
        return file.getparams(), np.frombuffer(file.readframes(file.getnframes()), "<i2")


@pytest.mark.parametrize("columns", [{"program": 48}, {"program": 0}, {"channel": 9, "pitch": 49}])
def test_it_sounds_where_notes_do_and_is_silent_in_a_long_rest(columns: dict[str, int]):
    samples = audio.render(notes_of(1.0, 6.0, **columns))
    assert samples.dtype == np.float32 and len(samples) == round((6.5 + audio.TAIL_SEC) * audio.SAMPLE_RATE)
    assert level(samples, 0, 0.999) == 0
    assert level(samples, 1, 1.5) > 0.3 and level(samples, 6, 6.5) > 0.3
    assert level(samples, 3.5, 5.999) == 0
    assert level(samples, 8.45, 8.5) < SILENCE


def test_times_follow_the_tempo_map():
    score = make_score(480, make_notes([0, 960], 480, 69), tempos=[Tempo(0, 2_000_000), Tempo(480, 500_000)])
    samples = audio.render(score)
    assert len(samples) == round((3 + audio.TAIL_SEC) * audio.SAMPLE_RATE)
    assert level(samples, 1.5, 2) > 0.01 and level(samples, 2.4, 2.499) < SILENCE and level(samples, 2.5, 3) > 0.3


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("pitch", [21, 60, 108])
def test_a_tone_has_its_harmonics_to_two_cents_and_nothing_else(name: str, pitch: int):
    score = make_score(480, make_notes([0], 960 * 8, pitch, program=PROGRAMS[name]))
    assert instruments.PART_NAMES[instruments.assign_parts(score)[0]] in (name, "low strings")
    samples = audio.render(score)[: 4 * audio.SAMPLE_RATE] * np.hanning(4 * audio.SAMPLE_RATE)
    spectrum = np.abs(np.fft.rfft(samples, 32 * len(samples)))
    hertz = 440 * 2 ** ((pitch - 69) / 12)
    bin_hertz = audio.SAMPLE_RATE / 32 / len(samples)
    near = slice(round(0.95 * hertz / bin_hertz), round(1.05 * hertz / bin_hertz))  # The fundamental.
    found = (near.start + spectrum[near].argmax()) * bin_hertz
    assert abs(1200 * np.log2(found / hertz)) < 2
    assert spectrum[near].max() > 0.5 * spectrum.max()
    ratio = np.arange(len(spectrum)) * bin_hertz / hertz
    assert (spectrum[np.abs(ratio - np.round(ratio)) > 0.1] ** 2).sum() < 1e-3 * (spectrum**2).sum()


def test_a_held_string_sustains_and_a_held_piano_dies_away():
    held = {
        program: audio.render(make_score(480, make_notes([0], 480 * 8, 60, program=program))) for program in (48, 0)
    }
    assert level(held[48], 3, 4) > 0.7 * level(held[48], 0, 1)
    assert level(held[0], 3, 4) < 0.01 * level(held[0], 0, 1)
    assert 0 < level(held[48], 4.3, 4.4) < 0.02 * level(held[48], 3, 4)  # It is let go without a click.


def test_a_louder_note_is_louder():
    samples = audio.render(make_score(1000, make_notes([0, 4000], 1000, 60, velocity=[40, 120])))
    assert level(samples, 0, 1) < 0.5 * level(samples, 2, 3)


def test_drums_differ_and_are_the_same_every_time():
    kick, snare, cymbal = (audio.render(notes_of(0, pitch=pitch, channel=9)) for pitch in (36, 38, 49))
    powers = [np.abs(np.fft.rfft(x, audio.SAMPLE_RATE * 4)) ** 2 for x in (kick, snare, cymbal)]
    hertz = [np.average(np.arange(len(power)) / 4, weights=power) for power in powers]
    assert 50 < hertz[0] < 200 and 1000 < hertz[1] < 4000 and 7000 < hertz[2] < 13_000
    audio._make_hit.cache_clear()
    assert np.array_equal(snare, audio.render(notes_of(0, pitch=38, channel=9)))


@pytest.mark.parametrize("num_voices", [1, 100])
def test_nothing_is_clipped(num_voices: int):
    samples = audio.render(make_score(480, make_notes([0] * num_voices, 960, 60, track=np.arange(num_voices))))
    assert 0.89 < np.abs(samples).max() < 0.91


def test_a_score_without_notes_is_silent():
    samples = audio.render(make_score(480, make_notes([], [], [])))
    assert len(samples) == audio.TAIL_SEC * audio.SAMPLE_RATE and not samples.any()


def test_every_pitch_of_every_part_is_rendered():
    pitches = np.tile(np.arange(128), len(PROGRAMS) + 1)
    programs = np.repeat([*PROGRAMS.values(), 0], 128)
    channels = np.repeat([*range(len(PROGRAMS)), 9], 128)
    samples = audio.render(make_score(480, make_notes(0 * pitches, 48, pitches, program=programs, channel=channels)))
    assert np.isfinite(samples).all() and np.abs(samples).max() < 1


def test_a_long_note_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch):
    score = make_score(480, make_notes([0, 100], 480 * 8, [60, 64], program=48))
    whole = audio.render(score)
    monkeypatch.setattr(audio, "_BLOCK", 1001)
    assert np.array_equal(audio.render(score), whole)


def test_a_wav_file_has_the_samples(tmp_path: pathlib.Path):
    score = notes_of(0, 1)
    audio.save(score, tmp_path / "a.wav")
    parameters, samples = read(tmp_path / "a.wav")
    assert (parameters.nchannels, parameters.sampwidth, parameters.framerate) == (1, 2, 44_100)
    np.testing.assert_allclose(samples / 0x7FFF, audio.render(score), atol=1 / 0x7FFF)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (make_score(480, make_notes([0, 2 * 60 * 31 * 480], 480, 60)), "lasts 31 minutes; at most 30"),
        (make_score(1, make_notes([0], 2**60, 60)), "minutes; at most 30"),
        (make_score(480, make_notes([0] * 80, 120 * 15 * 480, 60, track=np.arange(80))), "add up to 1,200 minutes"),
    ],
)
def test_too_long_a_score_is_refused_before_any_sample_is_made(
    score: Score, message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(audio.np, "zeros", None)
    with pytest.raises(audio.AudioError, match=message) as caught:
        audio.render(score)
    assert len(str(caught.value).splitlines()) == 1
