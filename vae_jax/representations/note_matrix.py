"""The post's array: [notes, (note, length, time), tracks], numbers as they stand in the file.

Tracks are those that hold notes, in the file's order; what does not fit (more notes, more tracks) is left out and
counted; what is not there is zero. Times are moved by one tick so that zero means padding. Nothing is scaled: pitch,
length and time are what the file says, which is a part of why the post's model fails.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vae_jax.music import score as score_lib
from vae_jax.music.score import DRUM_CHANNEL, KeySignature, Meter, Score, Tempo
from vae_jax.representations.base import Arrays, Calibration, Encoded

NOTE, LENGTH, TIME = 0, 1, 2
_DEFAULT_VELOCITY = 80


@dataclasses.dataclass(frozen=True)
class TrackContext:
    """How a track plays: what the array does not hold."""

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
class EventsRepresentation:
    """The post's array with its shape.

    Attributes:
      num_notes: notes kept of each track.
      num_tracks: tracks kept of each piece.
    """

    num_notes: int = 150
    num_tracks: int = 9

    @property
    def example_shape(self) -> tuple[int, int, int]:
        """(notes, 3, tracks)."""
        return self.num_notes, 3, self.num_tracks

    def encode(self, score: Score) -> Encoded:
        """Turns a piece into one example, "events" float32 [1, notes, 3, tracks]."""
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
        return Encoded({"events": array}, context, report)

    def encode_training(self, score: Score) -> Arrays:
        """The same one example."""
        return self.encode(score).arrays

    def decode(self, encoded: Encoded) -> Score:
        """Turns one example back into a piece; a slot is a note where note, length and time are all at least one."""
        array = np.rint(np.asarray(encoded.arrays["events"][0], dtype=np.float64))
        context: EventsContext = encoded.context
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

    def rasterise(self, arrays: Mapping[str, jax.Array]) -> jax.Array:
        """The array is dense already: [B, notes, 3, tracks] float32."""
        return arrays["events"]

    def from_outputs(self, outputs: np.ndarray, calibration: Calibration) -> Arrays:
        """Rounds the decoder's values, as the post does; [W, notes, 3, tracks]."""
        del calibration
        return {"events": np.rint(outputs).astype(np.float32)}

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

    def pack_context(self, context: EventsContext) -> dict[str, Any]:
        """Turns a context into what JSON can hold."""
        return dataclasses.asdict(context)

    def unpack_context(self, packed: dict[str, Any]) -> EventsContext:
        """Turns it back."""
        return EventsContext(
            packed["ticks_per_beat"],
            tuple(TrackContext(**track) for track in packed["tracks"]),
            tuple(Tempo(**tempo) for tempo in packed["tempos"]),
            tuple(Meter(**meter) for meter in packed["meters"]),
            tuple(KeySignature(**key) for key in packed["keys"]),
        )


def _default_track(track: int) -> TrackContext:
    channel = track if track < DRUM_CHANNEL else track + 1
    return TrackContext(f"Track {track + 1}", min(channel, 15), 0, _DEFAULT_VELOCITY)
