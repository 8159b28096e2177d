"""The representation that a config names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vae_jax.representations.base import AnyRepresentation
from vae_jax.representations.note_matrix import NoteMatrixRepresentation
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.runtime import config

REPRESENTATIONS: dict[str, type[AnyRepresentation]] = {
    "note_matrix": NoteMatrixRepresentation,
    "pianoroll": RollRepresentation,
}


def make_representation(fields: Mapping[str, Any]) -> AnyRepresentation:
    """Returns the representation that a config's `representation` section names.

    Raises:
      UserError: for an unknown name or field, or a value outside its range.
    """
    section, others = config.choose(REPRESENTATIONS, fields, "config.representation")
    return config.make_section(section, others, "config.representation")
