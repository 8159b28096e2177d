"""From a decoder's logits to notes: thresholds tuned on training beats, and the most probable duration class."""

from typing import NamedTuple

import jax
import numpy as np
import scipy.special

from vae_jax.music import instruments
from vae_jax.representations.base import Calibration
from vae_jax.representations.pianoroll.beats import BeatLists, split
from vae_jax.representations.pianoroll.config import DURATION, PART, PITCH, STEP
from vae_jax.representations.pianoroll.rasterize import DURATION_REGISTER, duration_span

DEFAULT_CALIBRATION = {"onset_threshold": 0.0, "drum_threshold": 0.0, "share_threshold": 0.0}  # Even odds.
# Steps for which a note of each duration class sounds: near the middle of the class.
DURATION_STEPS = np.array([1, 2, 3, 4, 5, 6, 8, 10, 12, 17, 24, 36, 48])
_DRUM_STEPS = 1
_LOGIT_THRESHOLDS = np.linspace(-2.0, 1.0, 61)


class RollLogits(NamedTuple):
    """The outputs of a decoder of piano rolls; rows are beats, [W, ...]."""

    onset: jax.Array  # Logit that any pitched part starts a note, [W, S, P].
    drum: jax.Array  # Logit that the drums do, [W, S, P].
    share: jax.Array  # Logit that a part takes a note that starts, [W, P, C - 1].
    outlasts: jax.Array  # Logit that a note that outlasts the class before outlasts each, [W, 2, registers, C - 1, K].


def notes_from_logits(logits: RollLogits, calibration: Calibration, max_notes: int) -> BeatLists:
    """Turns logits of W beats into notes wherever they exceed their thresholds, the `max_notes` of a beat with the
    largest logits at most.

    A pitch with an onset is given to the part with the largest share at least, the first of several.
    """
    onset, drum, share, outlasts = (np.asarray(values) for values in logits)
    is_onset, is_drum = onset > calibration["onset_threshold"], drum > calibration["drum_threshold"]
    beat, step, pitch = np.nonzero(is_onset)
    shares = share[beat, pitch]
    plays = shares > calibration["share_threshold"]
    plays[np.arange(len(shares)), shares.argmax(axis=1)] = True
    which, part = np.nonzero(plays)
    span = duration_span(step, onset.shape[1])[which]
    duration = most_probable_steps(outlasts[beat[which], span, pitch[which] // DURATION_REGISTER, part])
    drum_beat, drum_step, drum_pitch = np.nonzero(is_drum)
    beat = np.concatenate([beat[which], drum_beat])
    notes = np.zeros((len(beat), 4), np.int64)
    notes[:, STEP] = beat * onset.shape[1] + np.concatenate([step[which], drum_step])
    notes[:, PART] = np.concatenate([part, np.full(len(drum_step), instruments.DRUMS)])
    notes[:, PITCH] = np.concatenate([pitch[which], drum_pitch])
    notes[:, DURATION] = np.concatenate([duration, np.full(len(drum_step), _DRUM_STEPS)])
    values = np.concatenate([onset[is_onset][which], drum[is_drum]])
    return split(notes[np.lexsort((-values, beat))], len(onset), onset.shape[1], max_notes)[0]


def most_probable_steps(outlasts: np.ndarray) -> np.ndarray:
    """Returns the length of the most probable duration class, [N] steps, of logits [N, K] of outlasting each class."""
    survival = np.cumprod(scipy.special.expit(outlasts), axis=1)
    ones = np.ones((len(survival), 1))
    probability = -np.diff(np.hstack([ones, survival, 0 * ones]), axis=1)
    return DURATION_STEPS[probability.argmax(axis=1)]


def calibrate(logits: RollLogits, rolls: np.ndarray) -> dict[str, float]:
    """Finds the thresholds with the best F1 on training beats, rolls [W, S, P, C]."""
    onset, drum, share = (np.asarray(values) for values in logits[:3])
    pitched = np.asarray(rolls[..., :-1] > 0)
    played = np.any(pitched, axis=-1)
    beat, _, pitch = np.nonzero(played)
    return {
        "onset_threshold": best_threshold(onset, played),
        "drum_threshold": best_threshold(drum, rolls[..., -1] > 0),
        "share_threshold": best_threshold(share[beat, pitch], pitched[played]),
    }


def best_threshold(values: np.ndarray, truth: np.ndarray, thresholds: np.ndarray = _LOGIT_THRESHOLDS) -> float:
    """Returns which of the ascending thresholds on `values` has the best F1 against `truth`, arrays of one shape."""
    # Nearly all values lie below every threshold; sorting the few others counts all thresholds at once.
    near = values > thresholds[0]
    order = np.argsort(values[near])
    ranked, hits = values[near][order], np.cumsum(truth[near][order][::-1])
    num_positive = len(ranked) - np.searchsorted(ranked, thresholds, side="right")
    num_right = np.concatenate([[0], hits])[num_positive]
    return float(thresholds[np.argmax(2 * num_right / np.maximum(num_positive + np.count_nonzero(truth), 1))])
