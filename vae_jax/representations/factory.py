"""The representation that a config names."""

from vae_jax.representations.base import AnyRepresentation
from vae_jax.representations.note_matrix import NoteMatrixRepresentation
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.runtime import config
from vae_jax.runtime.config import Fields

REPRESENTATIONS: dict[str, type[AnyRepresentation]] = {
    "note_matrix": NoteMatrixRepresentation,
    "pianoroll": RollRepresentation,
}


def make_representation(fields: Fields) -> AnyRepresentation:
    """Returns the representation that a config's `representation` section names. Raises UserError for an unknown name
    or field, or a value outside its range."""
    section, others = config.choose(REPRESENTATIONS, fields, "config.representation")
    return config.make_section(section, others, "config.representation")
