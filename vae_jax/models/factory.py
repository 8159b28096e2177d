"""The model that a config names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from vae_jax.models.base import VAE
from vae_jax.models.conv_vae import ConvVAE
from vae_jax.models.losses import DISTORTIONS
from vae_jax.models.pianoroll_vae import RollVAE
from vae_jax.models.posterior import POST, STANDARD
from vae_jax.runtime import config
from vae_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class ConvVAEConfig(config.Section):
    """The fields of `ConvVAE`."""

    filters: int = config.number(at_least=1, default=36)
    hidden: int = config.number(at_least=4, default=256)
    latent_dim: int = config.number(at_least=1, default=2)
    reparameterization: str = config.choice(STANDARD, POST, default=STANDARD)
    distortion: str = config.choice(*DISTORTIONS, default="msle")


@dataclasses.dataclass(frozen=True)
class RollVAEConfig(config.Section):
    """The fields of `RollVAE`."""

    latent_dim: int = config.number(at_least=1, default=256)
    num_onset_cells: int = config.number(at_least=1, default=3584)
    num_drum_cells: int = config.number(at_least=1, default=512)
    window_beats: int = config.number(at_least=1, default=8)
    register_semitones: int = config.number(at_least=1, default=3)
    num_iterations: int = config.number(at_least=1, default=6)
    prior_weight: float = config.number(above=0, default=0.05)
    with_parts: bool = True


# By name: the fields, the linen module and the representation that it takes.
MODELS: dict[str, tuple[Any, Any, str]] = {
    "conv_vae": (ConvVAEConfig, ConvVAE, "note_matrix"),
    "pianoroll_vae": (RollVAEConfig, RollVAE, "pianoroll"),
}


def make_model(fields: Mapping[str, Any], representation: str, example_shape: tuple[int, ...]) -> VAE:
    """Returns the model that a config's `model` section names, for examples of the given shape.

    Raises:
      UserError: for an unknown name or field, a value outside its range, or a representation that the model does not
        take.
    """
    name = fields["name"]
    if name not in MODELS:
        raise UserError(f"config.model.name must be one of {', '.join(MODELS)}, got {name!r}")
    section, module, takes = MODELS[name]
    if representation != takes:
        raise UserError(f"config.model.name={name} takes config.representation.name={takes}, not {representation}")
    checked = config.make_section(section, {key: fields[key] for key in fields if key != "name"}, "config.model")
    return module(example_shape=example_shape, **dataclasses.asdict(checked))
