"""A blind listening test: pairs of excerpts, one of a held-out and one of a composed piece, for the page of a run.

Both excerpts of a pair have the same number of beats, from the same relative position of their pieces, and are played
alike: on the beat grid, at one tempo, with one velocity, a note that several instruments of a group double once. Only
notes and instrument groups are left to tell them apart.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from vae_jax.music import instruments
from vae_jax.music.score import DRUM_CHANNEL, Score, Tempo, make_notes, make_score
from vae_jax.report.pieces import pack_music
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.config import DURATION, PART, PITCH, STEP, RollConfig
from vae_jax.runtime.files import Json

NUM_PAIRS = 8
NUM_BEATS = 32  # Of an excerpt at most.
_CONFIG = RollConfig(normalize_tonic=False)
_VELOCITY = 80


class NamedScore(NamedTuple):
    """A piece as the page names it."""

    name: str
    score: Score


class _Piece(NamedTuple):
    name: str
    notes: np.ndarray  # [N, 4] roll notes.
    bars: np.ndarray  # [num_bars + 1] steps.
    beats_per_minute: float  # Mean tempo.

    @property
    def bar_steps(self) -> int:
        """The most common length of a bar."""
        return int(np.bincount(np.diff(self.bars)).argmax())


def make_test(real: Sequence[NamedScore], composed: Sequence[NamedScore], seed: int) -> Json | None:
    """Makes the test for the page: its `pairs`, an `id` of their content, `results` for each number of right answers.

    A pair has two excerpts of different pieces, in one meter where that is possible. No piece is in two pairs. The
    seed is that of the pieces, their order and the position of the excerpts. Returns None where either side has no
    piece with pitched notes.
    """
    rng = np.random.default_rng(seed)
    ours, theirs = ([one for piece in side if (one := _quantize(piece)) is not None] for side in (real, composed))
    ours, theirs = ([side[n] for n in rng.permutation(len(side))] for side in (ours, theirs))
    num_pairs = min(NUM_PAIRS, len(ours), len(theirs))
    if not num_pairs:
        return None
    pairs = []
    for piece in ours[:num_pairs]:
        # The first of the same meter, else the first.
        other = min(theirs, key=lambda one: one.bar_steps != piece.bar_steps)
        theirs = [one for one in theirs if one is not other]
        excerpts, order = _excerpts(piece, other, rng.uniform()), rng.permutation(2).tolist()
        pair = {"music": [excerpts[n] for n in order], "names": [(piece, other)[n].name for n in order]}
        pairs.append(pair | {"composed": order.index(1)})
    digest = hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]
    return {"id": digest, "pairs": pairs, "results": [_judge(right, num_pairs) for right in range(num_pairs + 1)]}


def _judge(num_right: int, num_pairs: int) -> Json:
    """The exact 95% interval of the probability to be right (Clopper and Pearson 1934), and the probability to be right
    as often by guessing."""
    interval = scipy.stats.binomtest(num_right, num_pairs).proportion_ci(0.95)
    p_value = scipy.stats.binomtest(num_right, num_pairs, 0.5, alternative="greater").pvalue
    return {"interval": [float(interval.low), float(interval.high)], "p_value": float(p_value)}


def _quantize(piece: NamedScore) -> _Piece | None:
    """Quantizes a piece; None where it has no pitched note."""
    roll = encoding.encode(piece.score, _CONFIG)
    if not np.any(roll.notes[:, PART] != instruments.DRUMS):
        return None
    beats = piece.score.end_tick / piece.score.ticks_per_beat
    return _Piece(piece.name, roll.notes.astype(np.int64), roll.bars, 60 * beats / piece.score.duration_sec)


def _excerpts(piece: _Piece, other: _Piece, position: float) -> list[Json]:
    """Cuts the excerpts of a pair, in whole bars of the first piece, at a relative position in 0..1 of each."""
    pair = (piece, other)
    longest = min(NUM_BEATS * _CONFIG.steps_per_beat, *(int(one.bars[-1] - one.bars[0]) for one in pair))
    num_steps = max(longest // piece.bar_steps, 1) * piece.bar_steps
    tempo = Tempo(0, round(60e6 / np.clip(np.sqrt(piece.beats_per_minute * other.beats_per_minute), 30, 240)))
    length_sec = 1e-6 * tempo.microseconds_per_beat * num_steps / _CONFIG.steps_per_beat
    return [pack_music(_cut(one, num_steps, position, tempo)) | {"sec": round(length_sec, 3)} for one in pair]


def _cut(piece: _Piece, num_steps: int, position: float, tempo: Tempo) -> Score:
    step = piece.notes[:, STEP]
    onsets = np.sort(step[piece.notes[:, PART] != instruments.DRUMS])
    starts = piece.bars[:-1]
    # The first note after each bar line; an excerpt starts where one follows within a beat, and enough music.
    wait = np.append(onsets, np.iinfo(np.int64).max)[np.searchsorted(onsets, starts)] - starts
    fits = starts + num_steps <= piece.bars[-1]
    wanted = (fits & (wait < _CONFIG.steps_per_beat), fits & (wait < num_steps), wait < num_steps)
    chosen = next(starts[mask] for mask in wanted if mask.any())
    start = int(chosen[round(position * (len(chosen) - 1))])
    notes = piece.notes[(step >= start) & (step < start + num_steps)]
    part = notes[:, PART]
    parts, track = np.unique(part, return_inverse=True)
    return make_score(
        _CONFIG.steps_per_beat,
        make_notes(
            notes[:, STEP] - start,
            np.minimum(notes[:, DURATION], start + num_steps - notes[:, STEP]),
            notes[:, PITCH] + _CONFIG.min_pitch,
            track=track,
            channel=np.where(part == instruments.DRUMS, DRUM_CHANNEL, 0),
            velocity=_VELOCITY,
        ),
        track_names=[instruments.track_label(int(one), "") for one in parts],
        tempos=[tempo],
    )
