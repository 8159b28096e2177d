"""The post's array: [notes, (pitch, duration, onset), tracks], the numbers of the file in ticks.

Tracks are those that hold notes, in the file's order. Notes and tracks that do not fit are left out and counted; empty
slots are zero, and onsets are one tick late so that zero means padding. Nothing is scaled, which is a part of why the
post's model fails (docs/post.md).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.music import score as score_lib
from vae_jax.music.score import DRUM_CHANNEL, KeySignature, Meter, Score, Tempo
from vae_jax.representations.base import Calibration, Encoded, Representation
from vae_jax.runtime import config

PITCH, DURATION, ONSET = 0, 1, 2
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
class NoteMatrixContext:
    """What decoding takes from the original file."""

    ticks_per_beat: int
    tracks: tuple[TrackContext, ...]
    tempos: tuple[Tempo, ...] = ()
    meters: tuple[Meter, ...] = ()
    keys: tuple[KeySignature, ...] = ()


@dataclasses.dataclass(frozen=True)
class NoteMatrixRepresentation(config.Section, Representation[NoteMatrix, NoteMatrixContext, jax.Array, np.ndarray]):
    """The post's array; see `representations.base.Representation` for its methods."""

    num_notes: int = config.number(at_least=1, default=150)  # Notes kept of each track.
    num_tracks: int = config.number(at_least=1, default=9)  # Tracks kept of each piece.

    example_type = NoteMatrix
    context_type = NoteMatrixContext

    @property
    def example_shape(self) -> tuple[int, int, int]:
        """(notes, 3, tracks)."""
        return self.num_notes, 3, self.num_tracks

    def encode(self, score: Score) -> Encoded[NoteMatrix, NoteMatrixContext]:
        """Turns a piece into one example, float32 [1, notes, 3, tracks]."""
        array = np.zeros((1, *self.example_shape), dtype=np.float32)
        notes = score.notes
        bearing = score.note_bearing_tracks()
        tracks = []
        for column, track in enumerate(bearing[: self.num_tracks]):
            of_track = notes.select(np.flatnonzero(notes.track == track))
            kept = of_track.select(np.arange(min(len(of_track), self.num_notes)))
            array[0, : len(kept), PITCH, column] = kept.pitch
            array[0, : len(kept), DURATION, column] = kept.duration_ticks
            array[0, : len(kept), ONSET, column] = kept.onset_ticks + 1
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
        context = NoteMatrixContext(score.ticks_per_beat, tuple(tracks), score.tempos, score.meters, score.keys)
        return Encoded(NoteMatrix(array), context, report)

    def decode(self, encoded: Encoded[NoteMatrix, NoteMatrixContext]) -> Score:
        """Turns one example back into a piece; a slot holds a note where its three numbers are all at least one."""
        array = np.rint(np.asarray(encoded.examples.values[0], dtype=np.float64))
        context = encoded.context
        slot, track = np.nonzero(np.all(array >= 1, axis=1) & (array[:, PITCH] <= 127))
        by_track = np.lexsort((slot, track))
        slot, track = slot[by_track], track[by_track]
        tracks = [context.tracks[t] if t < len(context.tracks) else _default_track(t) for t in range(self.num_tracks)]
        notes = score_lib.make_notes(
            array[slot, ONSET, track] - 1,
            array[slot, DURATION, track],
            array[slot, PITCH, track],
            track=track,
            channel=np.array([one.channel for one in tracks])[track],
            velocity=np.array([one.velocity for one in tracks])[track],
            program=np.array([one.program for one in tracks])[track],
        )
        return score_lib.make_score(
            context.ticks_per_beat,
            notes,
            track_names=[one.name for one in context.tracks],
            tempos=context.tempos,
            meters=context.meters,
            keys=context.keys,
        )

    def rasterize(self, batch: NoteMatrix) -> jax.Array:
        """The array is dense already: [B, notes, 3, tracks] float32."""
        return jnp.asarray(batch.values)

    def from_outputs(self, outputs: np.ndarray, calibration: Calibration) -> NoteMatrix:
        """Rounds the decoder's values, as the post does; [W, notes, 3, tracks]."""
        del calibration
        return NoteMatrix(np.rint(outputs).astype(np.float32))

    def context_of_length(self, num_examples: int) -> NoteMatrixContext:
        """480 ticks a beat, every track a piano. Raises ValueError for more than one example, because a piece is
        one."""
        if num_examples != 1:
            raise ValueError(f"a piece is one example, got {num_examples}")
        return NoteMatrixContext(480, tuple(_default_track(t) for t in range(self.num_tracks)))

    def context_between(
        self, start: NoteMatrixContext, end: NoteMatrixContext, fraction: float, num_examples: int
    ) -> NoteMatrixContext:
        """The context of the nearer piece, as its notes are in its own ticks."""
        del num_examples
        return start if fraction < 0.5 else end


def _default_track(track: int) -> TrackContext:
    channel = track if track < DRUM_CHANNEL else track + 1
    return TrackContext(f"Track {track + 1}", min(channel, 15), 0, _DEFAULT_VELOCITY)
