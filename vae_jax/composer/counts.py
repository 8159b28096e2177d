"""How often what a note may be occurred before in the piece, in the same contexts."""

from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.composer.notes import MAX_GAP, NUM_DURATIONS, NUM_PITCHES, NUM_POSITIONS, NUM_ROLES, STEPS_PER_BEAT
from vae_jax.representations.pianoroll.durations import duration_classes

N = TypeVar("N", int, jax.Array)

_WIDE, _SPAN = 7, 40  # Semitones.
_MELODY_CLASSES = 2 * _WIDE + 2
_LONG_GAP = 24
_ANY_PITCH, _ANY_DURATION = NUM_PITCHES + 1, NUM_DURATIONS + 1
# Numbers of the contexts under which pitches, times, durations and whether a chord goes on are counted.
NUM_CONTEXTS = (
    (3 * _ANY_PITCH, (_MELODY_CLASSES + 2) * _ANY_PITCH, (33 + 2 * (_SPAN + 2)) * _ANY_PITCH),
    (NUM_POSITIONS, STEPS_PER_BEAT * (_LONG_GAP + 1), (_LONG_GAP + 1) ** 2),
    (3 * _ANY_DURATION, 3 * _ANY_DURATION, _ANY_DURATION**2, _ANY_DURATION**2),
    (NUM_ROLES * (NUM_ROLES + 1), NUM_ROLES * NUM_POSITIONS),
)
FIELDS = ("pitch_counts", "gap_counts", "duration_counts", "more_counts")
NUM_COUNTED = (NUM_PITCHES, MAX_GAP + 1, NUM_DURATIONS, 2)  # Values.
GAP_CLASSES = np.append(duration_classes(np.arange(MAX_GAP + 1).clip(1)), NUM_DURATIONS)  # As durations.


class Recent(NamedTuple, Generic[N]):
    """What the contexts of counts look at; integers, or arrays of batches."""

    last: N  # Last pitch of the note's role, of a soprano that of the melody.
    before: N  # Pitch of the note before.
    soprano: N  # Last pitch of the soprano.
    melody: N  # Interval class of the last two notes of the melody, see `melody_class`.
    gap: N  # Steps between the last two chords, and between the two before.
    gap_before: N
    duration: N  # Duration class of the last note of the role, and of the note above in the chord.
    above: N
    size: N  # Notes of the chord before.


def pitch_contexts(recent: Recent[N], role: N, position: N) -> tuple[N, ...]:
    """Contexts of a pitch: its role and the last of this role; with what else is near.

    That is for a soprano the interval before, and the place in the bar; for others the note before, and how far it is
    below the soprano.
    """
    above, is_inner = _clip(role, 0, 1), _clip(role, 1, 2) - 1
    kind = above + is_inner
    first = kind * _ANY_PITCH + recent.last
    second = recent.melody * (1 - above) + (_MELODY_CLASSES + kind - 1) * above
    span = _clip(recent.soprano - recent.before * is_inner - recent.last * (1 - is_inner), 0, _SPAN)
    third = (position // 3) * (1 - above) + (33 + (kind - 1) * (_SPAN + 2) + span) * above
    value = recent.last * (1 - above) + recent.before * above
    return first, second * _ANY_PITCH + value, third * _ANY_PITCH + (recent.soprano * above + recent.last * (1 - above))


def gap_contexts(recent: Recent[N], position: N) -> tuple[N, ...]:
    """Contexts of a time: the place in the bar; that in the beat and the time before; the two times before."""
    short, before = _clip(recent.gap, 0, _LONG_GAP), _clip(recent.gap_before, 0, _LONG_GAP)
    return position, position % STEPS_PER_BEAT * (_LONG_GAP + 1) + short, before * (_LONG_GAP + 1) + short


def duration_contexts(recent: Recent[N], role: N, gap: N) -> tuple[N, ...]:
    """Contexts of a duration: role or time to the next chord, with the last duration of the role or that above."""
    kind = _clip(role, 0, 2)
    return (
        kind * _ANY_DURATION + gap,
        kind * _ANY_DURATION + recent.duration,
        gap * _ANY_DURATION + recent.above,
        gap * _ANY_DURATION + recent.duration,
    )


def more_contexts(recent: Recent[N], role: N, position: N) -> tuple[N, ...]:
    """Contexts of whether a chord goes on to a role: the size of the chord before; the place in the bar."""
    return role * (NUM_ROLES + 1) + _clip(recent.size, 0, NUM_ROLES), role * NUM_POSITIONS + position


def is_melody(role: N, pitch: N, highest: N) -> N:
    """Whether a note starts above all that is held, of which the highest pitch is given."""
    return (role == 0) & ((highest >= NUM_PITCHES) | (pitch >= highest))


def is_bass(role: N, pitch: N, lowest: N) -> N:
    """Whether a note starts below all that is held, of which the lowest pitch is given."""
    return ((role == 1) & (lowest >= NUM_PITCHES)) | ((role < 2) & (lowest < NUM_PITCHES) & (pitch <= lowest))


def melody_class(interval: N, is_known: N) -> N:
    """Class of an interval in semitones, 0 where it is not known (`is_known` is 0 or 1)."""
    return (_clip(interval, -_WIDE, _WIDE) + _WIDE + 1) * is_known


def _clip(value: N, low: int, high: int) -> N:
    """Clips integers and arrays alike."""
    return jnp.clip(value, low, high) if isinstance(value, jax.Array) else min(max(value, low), high)


def count_contexts(
    pitch: np.ndarray,
    role: np.ndarray,
    duration: np.ndarray,
    gap: np.ndarray,
    position: np.ndarray,
    melodies: np.ndarray,
) -> dict[str, np.ndarray]:
    """Counts, before each token of a piece, what occurred in its contexts: see `crops.Crops`.

    The arguments [N] are as there, `melodies` [N, 2] the last two notes of the melody; a token without a pitch is no
    note and is not counted.
    """
    tables = [
        [np.zeros((contexts, size), np.uint8) for contexts in numbers]
        for numbers, size in zip(NUM_CONTEXTS, NUM_COUNTED, strict=True)
    ]
    found = [
        np.zeros((len(pitch), len(numbers), size), np.uint8)
        for numbers, size in zip(NUM_CONTEXTS, NUM_COUNTED, strict=True)
    ]
    last, last_duration = [NUM_PITCHES] * NUM_ROLES, [NUM_DURATIONS] * NUM_ROLES
    before, gaps, above, sizes = NUM_PITCHES, (MAX_GAP + 1, MAX_GAP + 1), NUM_DURATIONS, (0, 0)

    def count(n: int, which: int, contexts: tuple[int, ...], value: int, counts: bool) -> None:
        for k, context in enumerate(contexts):
            row = tables[which][k][context]
            found[which][n, k] = row
            if counts and row[value] < 255:
                row[value] += 1

    columns = (pitch, role, duration, gap, position)
    for n, (p, r, d, g, at) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        is_note = p < NUM_PITCHES
        if r == 0:
            above = NUM_DURATIONS
        first, second = melodies[n].tolist()
        melody = melody_class(first - second, int(second < NUM_PITCHES))
        voice = last[r] if r else first
        recent = Recent(voice, before, last[0], melody, *gaps, last_duration[r], above, sizes[r == 0])
        if n:  # Whether the chord of the token before went on.
            following = min(int(role[n - 1]) + 1, NUM_ROLES - 1)
            size = sizes[0]
            contexts = more_contexts(recent._replace(size=size), following, int(position[n - 1]))
            count(n - 1, 3, contexts, int(r > 0), bool(pitch[n - 1] < NUM_PITCHES))
        if r == 0:
            sizes = sizes[1], 0
        recent = recent._replace(size=sizes[0])
        count(n, 0, pitch_contexts(recent, r, at), min(p, NUM_PITCHES - 1), is_note)
        count(n, 1, gap_contexts(recent, at), min(g, MAX_GAP), is_note and r == 0 and g <= MAX_GAP)
        count(n, 2, duration_contexts(recent, r, int(GAP_CLASSES[g])), d, is_note)
        if is_note:
            if r == 0:
                gaps = (g, gaps[0])
            last[r], last_duration[r], before, above, sizes = p, d, p, d, (sizes[0], sizes[1] + 1)
    return dict(zip(FIELDS, found, strict=True))


def pack(counts: np.ndarray) -> np.ndarray:
    """Packs counts [..., K], those above 15 as 15, two in a byte, [..., ceil(K / 2)]."""
    pairs = np.zeros((*counts.shape[:-1], -(-counts.shape[-1] // 2), 2), np.uint8)
    pairs.reshape(*counts.shape[:-1], -1)[..., : counts.shape[-1]] = np.minimum(counts, 15)
    return pairs[..., 0] | pairs[..., 1] << 4


def unpack(packed: jax.Array, size: int) -> jax.Array:
    """Returns the first `size` of packed counts, uint8 [..., size]; jittable."""
    return jnp.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)[..., :size]
