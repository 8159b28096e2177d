"""The shape of a piano roll."""

import dataclasses

from vae_jax.music import instruments
from vae_jax.runtime import config

STEP, PART, PITCH, DURATION = range(4)  # Columns of a roll note.


@dataclasses.dataclass(frozen=True)
class RollConfig(config.Section):
    """The shape of a roll.

    Attributes:
      steps_per_beat: steps in one quarter note; 12 holds sixteenths and triplets.
      num_pitches: pitches in the range, at least an octave; a note outside moves by octaves into it.
    """

    steps_per_beat: int = config.number(at_least=1, at_most=96, default=12)
    min_pitch: int = config.number(at_least=0, at_most=116, default=24)  # MIDI number of pitch index 0.
    num_pitches: int = config.number(at_least=12, default=84)
    normalize_tonic: bool = True  # Whether the piece is transposed to the tonic C.

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_pitch + self.num_pitches > 128:
            raise config.FieldError(f"num_pitches must be at most {128 - self.min_pitch}, got {self.num_pitches}")

    @property
    def beat_shape(self) -> tuple[int, int, int]:
        """Shape of a beat's dense roll: (steps, pitches, parts)."""
        return self.steps_per_beat, self.num_pitches, instruments.NUM_PARTS
