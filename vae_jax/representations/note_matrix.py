"""The post's array: [notes, (note, length, time), tracks], numbers as they stand in the file.

Tracks are those that hold notes, in the file's order; what does not fit (more notes, more tracks) is left out and
counted; what is not there is zero. Times are moved by one tick so that zero means padding. Nothing is scaled: pitch,
length and time are what the file says, which is a part of why the post's model fails.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.music import score as score_lib
from vae_jax.music.score import DRUM_CHANNEL, KeySignature, Meter, Score, Tempo
from vae_jax.representations.base import Calibration, Encoded
from vae_jax.runtime import config
from vae_jax.runtime.errors import UserError

NOTE, LENGTH, TIME = 0, 1, 2
_DEFAULT_VELOCITY = 80


class NoteMatrix(NamedTuple):
    """The post's array, [W, notes, 3, tracks] float32."""

    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class TrackContext:
    """What the array does not hold of a track."""

    name: str
    channel: int
    program: int
    velocity: int


@dataclasses.dataclass(frozen=True)
class EventsContext:
    """What decoding takes from the original file."""

    ticks_per_beat: int
    tracks: tuple[TrackContext, ...]
    tempos: tuple[Tempo, ...] = ()
    meters: tuple[Meter, ...] = ()
    keys: tuple[KeySignature, ...] = ()


@dataclasses.dataclass(frozen=True)
class EventsRepresentation(config.Section):
    """The post's array with its shape.

    Attributes:
      num_notes: notes kept of each track.
      num_tracks: tracks kept of each piece.
    """

    num_notes: int = config.number(at_least=1, default=150)
    num_tracks: int = config.number(at_least=1, default=9)

    @property
    def example_shape(self) -> tuple[int, int, int]:
        """(notes, 3, tracks)."""
        return self.num_notes, 3, self.num_tracks

    @property
    def example_type(self) -> type[NoteMatrix]:
        """The array."""
        return NoteMatrix

    @property
    def context_type(self) -> type[EventsContext]:
        """Of a file."""
        return EventsContext

    @property
    def grid(self) -> None:
        """Times are ticks: there is no grid."""
        return

    def encode(self, score: Score) -> Encoded[NoteMatrix, EventsContext]:
        """Turns a piece into one example, float32 [1, notes, 3, tracks]."""
        array = np.zeros((1, *self.example_shape), dtype=np.float32)
        notes = score.notes
        bearing = score.note_bearing_tracks()
        tracks = []
        for column, track in enumerate(bearing[: self.num_tracks]):
            of_track = notes.select(np.flatnonzero(notes.track == track))
            kept = of_track.select(np.arange(min(len(of_track), self.num_notes)))
            array[0, : len(kept), NOTE, column] = kept.pitch
            array[0, : len(kept), LENGTH, column] = kept.duration_ticks
            array[0, : len(kept), TIME, column] = kept.onset_ticks + 1
            tracks.append(
                TrackContext(
                    name=score.track_names[track],
                    channel=int(np.bincount(of_track.channel).argmax()),
                    program=int(np.bincount(of_track.program).argmax()),
                    velocity=int(np.round(of_track.velocity.mean())),
                )
            )
        counts = np.array([np.sum(notes.track == track) for track in bearing], dtype=int)
        report = {
            "notes": len(notes),
            "notes_past_the_last_slot": int(np.maximum(counts[: self.num_tracks] - self.num_notes, 0).sum()),
            "notes_in_tracks_past_the_last": int(counts[self.num_tracks :].sum()),
        }
        context = EventsContext(score.ticks_per_beat, tuple(tracks), score.tempos, score.meters, score.keys)
        return Encoded(NoteMatrix(array), context, report)

    def encode_training(self, score: Score) -> NoteMatrix:
        """The same one example."""
        return self.encode(score).examples

    def decode(self, encoded: Encoded[NoteMatrix, EventsContext]) -> Score:
        """Turns one example back into a piece; a slot is a note where note, length and time are all at least one."""
        array = np.rint(np.asarray(encoded.examples.values[0], dtype=np.float64))
        context = encoded.context
        slot, track = np.nonzero(np.all(array >= 1, axis=1) & (array[:, NOTE] <= 127))
        by_track = np.lexsort((slot, track))
        slot, track = slot[by_track], track[by_track]
        played = [context.tracks[t] if t < len(context.tracks) else _default_track(t) for t in range(self.num_tracks)]
        notes = score_lib.make_notes(
            array[slot, TIME, track] - 1,
            array[slot, LENGTH, track],
            array[slot, NOTE, track],
            track=track,
            channel=np.array([one.channel for one in played])[track],
            velocity=np.array([one.velocity for one in played])[track],
            program=np.array([one.program for one in played])[track],
        )
        names = [one.name for one in context.tracks]
        return score_lib.make_score(
            context.ticks_per_beat,
            notes,
            track_names=names,
            tempos=context.tempos,
            meters=context.meters,
            keys=context.keys,
        )

    def rasterize(self, batch: NoteMatrix) -> jax.Array:
        """The array is dense already: [B, notes, 3, tracks] float32."""
        return jnp.asarray(batch.values)

    def make_augmentation(self, probabilities: Mapping[str, float]) -> Callable[[jax.Array, NoteMatrix], NoteMatrix]:
        """There is none: any field is refused."""
        if probabilities:
            raise UserError(f"config.augment has no field {next(iter(probabilities))!r} for note matrices")
        return lambda key, batch: batch

    def from_outputs(self, outputs: np.ndarray, calibration: Calibration) -> NoteMatrix:
        """Rounds the decoder's values, as the post does; [W, notes, 3, tracks]."""
        del calibration
        return NoteMatrix(np.rint(outputs).astype(np.float32))

    def calibrate(self, outputs: np.ndarray, x: np.ndarray) -> Calibration:
        """Rounding needs nothing tuned."""
        del outputs, x
        return {}

    def default_calibration(self) -> Calibration:
        """Nothing to tune."""
        return {}

    def context_of_length(self, num_examples: int) -> EventsContext:
        """480 ticks a beat, every track a piano.

        Raises:
          ValueError: for more than one example, because a piece is one.
        """
        if num_examples != 1:
            raise ValueError(f"a piece is one example, got {num_examples}")
        return EventsContext(480, tuple(_default_track(t) for t in range(self.num_tracks)))

    def first_full_example(self, context: EventsContext) -> int:
        """A piece is one example."""
        del context
        return 0


def _default_track(track: int) -> TrackContext:
    channel = track if track < DRUM_CHANNEL else track + 1
    return TrackContext(f"Track {track + 1}", min(channel, 15), 0, _DEFAULT_VELOCITY)
