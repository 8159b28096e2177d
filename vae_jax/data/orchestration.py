"""Scores given to other ensembles: every voice to the instruments that would play it, doubled as arrangers double, and
its notes held for a share of their notated length, as players hold them."""

import dataclasses

import numpy as np

from vae_jax.music.score import PITCHED_CHANNELS, Score

_MAX_VOICES, _MAX_TRACKS = 6, 12
_KEPT = 0.25  # Share of scores that stay as they are.
_LEFT_OUT = 0.15  # Share of instruments.
_MONOPHONIC = 0.95  # A track of which so many notes start alone is a voice.
# Families of instruments: General MIDI program from zero, octaves, and which voices, as shares from the top.
_Player = tuple[int, int, float, float]
_FAMILIES: dict[str, tuple[_Player, ...]] = {
    "strings": ((40, 0, 0, 0), (40, 0, 0.3, 0.3), (41, 0, 0.6, 0.6), (42, 0, 1, 1), (43, -1, 1, 1)),
    "string ensemble": ((48, 0, 0, 0.5), (48, 0, 0.6, 1)),
    "brass": ((56, 0, 0, 0), (56, 0, 0.3, 0.3), (60, 0, 0.6, 0.6), (57, 0, 1, 1), (58, -1, 1, 1)),
    "brass section": ((61, 0, 0, 0.5), (57, 0, 0.6, 1)),
    "winds": ((73, 1, 0, 0), (68, 0, 0, 0), (71, 0, 0.3, 0.3), (60, 0, 0.6, 0.6), (70, 0, 1, 1)),
    "organ": ((19, 0, 0, 1),),
    "piano": ((0, 0, 0, 0.5), (0, 0, 0.6, 1)),
    "choir": ((52, 0, 0, 0), (52, 0, 0.3, 0.3), (52, 0, 0.6, 0.6), (52, 0, 1, 1)),
}
_MOST_FAMILIES = 3
_MOST_SHORTENED = 0.35  # Of a note; notes of up to an eighth, a quarter, a half, and longer ones are shortened alike.


def orchestrate(score: Score, rng: np.random.Generator) -> Score:
    """Returns a score for one to three families of instruments, each with some of its members; some scores, and those
    with drums or fewer than two voices, stay as they are."""
    notes = score.notes
    if rng.random() < _KEPT or not len(notes) or notes.is_drum.any():
        return score
    voice = _voices(score)
    num = int(voice.max()) + 1
    if num < 2:
        return score
    names = rng.permutation(sorted(_FAMILIES))[: rng.integers(1, _MOST_FAMILIES + 1)]
    players = [player for name in names for player in _FAMILIES[name] if rng.random() > _LEFT_OUT]
    plays = [_plays(player, num) for player in players][:_MAX_TRACKS]
    missing = sorted(set(range(num)) - {one for voices in plays for one in voices})
    if missing:  # Somebody plays every voice.
        players, plays = [*players[: len(plays)], _FAMILIES[names[0]][0]], [*plays, missing]
    length = np.log2(notes.duration_ticks / score.ticks_per_beat) + 2
    held = 1 - rng.uniform(0, _MOST_SHORTENED) * rng.random(4)[np.clip(np.ceil(length), 1, 4).astype(int) - 1]
    duration = np.maximum(np.round(notes.duration_ticks * held), 1).astype(notes.duration_ticks.dtype)
    columns: list[dict[str, np.ndarray]] = []
    for track, ((program, octaves, _, _), voices) in enumerate(zip(players, plays, strict=False)):
        mine = np.flatnonzero(np.isin(voice, voices))
        pitch = notes.pitch[mine] + 12 * octaves
        full = np.full(len(mine), 0)
        columns.append(
            {
                "index": mine,
                "duration_ticks": duration[mine],
                "pitch": np.where((pitch < 0) | (pitch > 127), notes.pitch[mine], pitch),
                "track": full + track,
                "channel": full + PITCHED_CHANNELS[track],
                "program": full + program,
                "velocity": full + rng.integers(70, 110),
            }
        )
    merged = {name: np.concatenate([one[name] for one in columns]) for name in columns[0]}
    index = merged.pop("index")
    order = np.lexsort((merged["track"], notes.onset_ticks[index]))
    new = notes.select(index[order]).replace(**{name: values[order] for name, values in merged.items()})
    return dataclasses.replace(score, notes=new, track_names=("",) * len(columns))


def _plays(player: _Player, num_voices: int) -> list[int]:
    """The voices that a player plays, 0 is the highest."""
    first, last = (round(share * (num_voices - 1)) for share in player[2:])
    return list(range(first, last + 1))


def _voices(score: Score) -> np.ndarray:
    """The voice of every note, int64 [N], 0 the highest: its track, or its place in its chord where tracks have
    chords."""
    notes = score.notes
    tracks, inverse = np.unique(notes.track, return_inverse=True)
    starts = np.unique(notes.onset_ticks * 2**16 + inverse)
    if 2 <= len(tracks) <= _MAX_VOICES and len(starts) >= _MONOPHONIC * len(notes):
        mean = np.bincount(inverse, notes.pitch) / np.bincount(inverse)
        return np.argsort(np.argsort(-mean, kind="stable"), kind="stable")[inverse]
    order = np.lexsort((-notes.pitch, notes.onset_ticks))
    onset = notes.onset_ticks[order]
    place = np.arange(len(order)) - np.searchsorted(onset, onset)
    size = np.searchsorted(onset, onset, side="right") - np.searchsorted(onset, onset)
    # The lowest note of a chord is the bass, the last voice.
    most = min(int(size.max()), 4)
    is_bass = (place == size - 1) & (size > 1)
    voice = np.empty(len(order), np.int64)
    voice[order] = np.where(is_bass, most - 1, np.minimum(place, max(most - 2, 0)))
    return voice
