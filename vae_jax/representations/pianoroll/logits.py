"""What a decoder of piano rolls gives."""

from __future__ import annotations

from typing import NamedTuple

import jax


class RollLogits(NamedTuple):
    """What the decoder says of every cell.

    Attributes:
      onset: logit that any pitched part plays, [B, T, P].
      drum: logit that the drums play, [B, T, P].
      share: logit that a part takes a note that is played, [B, T, P, C - 1].
    """

    onset: jax.Array
    drum: jax.Array
    share: jax.Array
