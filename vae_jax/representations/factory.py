"""The representation that a config names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vae_jax.representations.base import AnyRepresentation
from vae_jax.representations.note_matrix import EventsRepresentation
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.runtime import config
from vae_jax.runtime.errors import UserError

REPRESENTATIONS: dict[str, Any] = {"note_matrix": EventsRepresentation, "pianoroll": RollRepresentation}


def make_representation(fields: Mapping[str, Any]) -> AnyRepresentation:
    """Returns the representation that a config's `representation` section names.

    Raises:
      UserError: for an unknown name or field, or a value outside its range.
    """
    name = fields["name"]
    if name not in REPRESENTATIONS:
        raise UserError(f"config.representation.name must be one of {', '.join(REPRESENTATIONS)}, got {name!r}")
    others = {key: value for key, value in fields.items() if key != "name"}
    return config.make_section(REPRESENTATIONS[name], others, "config.representation")
