"""The representation that a config names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vae_jax.representations import note_matrix
from vae_jax.representations.base import Representation
from vae_jax.representations.pianoroll import representation
from vae_jax.runtime.errors import UserError


def make_representation(config: Mapping[str, Any]) -> Representation:
    """Returns the representation that a config's `representation` section names.

    Raises:
      UserError: for an unknown name.
    """
    makers: dict[str, Any] = {"events": note_matrix.EventsRepresentation, "roll": representation.RollRepresentation}
    fields = dict(config)
    name = fields.pop("name")
    if name not in makers:
        raise UserError(f"config.representation.name must be one of {', '.join(makers)}, got {name!r}")
    return makers[name](**fields)
