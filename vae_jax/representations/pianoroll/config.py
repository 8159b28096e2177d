"""The shape of a piano roll."""

from __future__ import annotations

import dataclasses

from vae_jax.music import instruments as parts_lib


@dataclasses.dataclass(frozen=True)
class RollConfig:
    """The shape of a roll and how it is found.

    Attributes:
      steps_per_beat: steps in one quarter note; 12 holds sixteenths and triplets.
      window_beats: quarter notes in a window.
      min_pitch: MIDI number of pitch index 0.
      num_pitches: pitches in the range, at least an octave; a note outside moves by octaves into it.
      snap_tolerance_sec: how far an onset may move for the sake of a simpler rhythm (see `grid.snap_onsets`).
      normalise_tonic: whether the piece is transposed to the tonic C.
      keep_timing: whether the context keeps how early or late each step was played.
      max_copies: most instruments that may double a note of one part.
      register_semitones: a register is this many neighbouring pitches; doubling is told apart by register.
    """

    steps_per_beat: int = 12
    window_beats: int = 8
    min_pitch: int = 24
    num_pitches: int = 84
    snap_tolerance_sec: float = 0.045
    normalise_tonic: bool = False
    keep_timing: bool = False
    max_copies: int = 3
    register_semitones: int = 6

    def __post_init__(self):
        limits = {
            "steps_per_beat": (1, 96),
            "window_beats": (1, None),
            "min_pitch": (0, 116),
            "num_pitches": (12, 128 - self.min_pitch),
            "snap_tolerance_sec": (0, None),
            "max_copies": (1, 255),
            "register_semitones": (1, None),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value < low or (high is not None and value > high):
                raise ValueError(f"{name} must lie in {low}..{'' if high is None else high}, got {value}")

    @property
    def window_steps(self) -> int:
        """Steps in a window."""
        return self.steps_per_beat * self.window_beats

    @property
    def roll_shape(self) -> tuple[int, int, int]:
        """Shape of a window's dense roll: (steps, pitches, parts)."""
        return self.window_steps, self.num_pitches, parts_lib.NUM_PARTS
