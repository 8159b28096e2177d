"""From a decoder's logits to notes: thresholds tuned on training windows, and a rule for durations."""

from typing import NamedTuple

import jax
import numpy as np

from vae_jax.music import instruments
from vae_jax.representations.base import Calibration
from vae_jax.representations.pianoroll.encoding import DURATION, PART, PITCH, STEP
from vae_jax.representations.pianoroll.windows import NoteLists

UNKNOWN_DURATION = -1  # Of a decoded note; `with_durations` replaces it.
DEFAULT_CALIBRATION = {"onset_threshold": 0.0, "drum_threshold": 0.0, "share_threshold": 0.0}  # Even odds.
_LOGIT_THRESHOLDS = np.linspace(-2.0, 1.0, 61)
_MAX_DURATION_BEATS = 4
_NEAR_SEMITONES = 7
_ARTICULATION = 0.85  # Share of the time to the next note for which a note sounds.


class RollLogits(NamedTuple):
    """The outputs of a decoder of piano rolls."""

    onset: jax.Array  # Logit that any pitched part starts a note, [B, T, P].
    drum: jax.Array  # Logit that the drums do, [B, T, P].
    share: jax.Array  # Logit that a part takes a note that starts, [B, T, P, C - 1].


def notes_from_logits(logits: RollLogits, calibration: Calibration, max_notes: int) -> NoteLists:
    """Turns logits of W windows into notes wherever they exceed their thresholds, `max_notes` of a window at most.

    A pitch with an onset is given to the part with the largest share at least, the first of several.
    """
    onset, drum, share = (np.asarray(values) for values in logits)
    notes = np.zeros((len(onset), max_notes, 4), dtype=np.int16)
    mask = np.zeros((len(onset), max_notes), dtype=bool)
    for w in range(len(onset)):
        step, pitch = np.nonzero(onset[w] > calibration["onset_threshold"])
        shares = share[w, step, pitch]
        plays = shares > calibration["share_threshold"]
        plays[np.arange(len(shares)), shares.argmax(axis=1)] = True
        which, part = np.nonzero(plays)
        drum_step, drum_pitch = np.nonzero(drum[w] > calibration["drum_threshold"])
        columns = {
            STEP: np.concatenate([step[which], drum_step]),
            PART: np.concatenate([part, np.full(len(drum_step), instruments.DRUMS)]),
            PITCH: np.concatenate([pitch[which], drum_pitch]),
        }
        values = np.concatenate([onset[w][step, pitch][which], drum[w][drum_step, drum_pitch]])
        kept = np.sort(np.argsort(-values, kind="stable")[:max_notes])
        for column, entries in columns.items():
            notes[w, : len(kept), column] = entries[kept]
        notes[w, : len(kept), DURATION] = UNKNOWN_DURATION
        mask[w, : len(kept)] = True
    return NoteLists(notes, mask)


def calibrate(logits: RollLogits, rolls: np.ndarray) -> dict[str, float]:
    """Finds the thresholds with the best F1 on training windows, rolls [W, T, P, C]."""
    onset, drum, share = (np.asarray(values) for values in logits)
    pitched = np.asarray(rolls[..., :-1] > 0)
    played = np.any(pitched, axis=-1)
    return {
        "onset_threshold": best_threshold(onset, np.asarray(played)),
        "drum_threshold": best_threshold(drum, rolls[..., -1] > 0),
        "share_threshold": best_threshold(share[played], pitched[played]),
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


def with_durations(notes: np.ndarray, num_steps: int, steps_per_beat: int) -> np.ndarray:
    """Lets notes of unknown duration, of [N, 4], last nearly to the next onset of their part within a fifth.

    The rule gives three quarters of the anthems' note ends (docs/experiments.md).
    """
    notes = notes.copy()
    longest = _MAX_DURATION_BEATS * steps_per_beat
    for part in range(instruments.NUM_PARTS):
        mine = np.flatnonzero(notes[:, PART] == part)
        steps, pitches = notes[mine, STEP].tolist(), notes[mine, PITCH].tolist()
        for n, row in enumerate(mine):
            if notes[row, DURATION] == UNKNOWN_DURATION:
                until = min(_next_near(steps, pitches, n, steps[n] + longest), num_steps)
                notes[row, DURATION] = max(1, round(_ARTICULATION * (until - steps[n])))
    return notes


def _next_near(steps: list[int], pitches: list[int], n: int, last: int) -> int:
    """Returns the first step after note n's at which a pitch within a fifth of it starts, `last` at the latest."""
    for m in range(n + 1, len(steps)):
        if steps[m] >= last:
            break
        if steps[m] > steps[n] and abs(pitches[m] - pitches[n]) <= _NEAR_SEMITONES:
            return steps[m]
    return last
