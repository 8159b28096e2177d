"""Models: one file a family. A model has `encode(x) -> Posterior`, `decode(z) -> outputs` and `__call__(x, key)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vae_jax.models.posterior import POST, STANDARD
from vae_jax.runtime.errors import UserError


def make_model(config: Mapping[str, Any], representation: str, example_shape: tuple[int, ...]) -> Any:
    """Returns the model that a config's `model` section names, for examples of the given shape.

    Raises:
      UserError: for an unknown name, or where the model does not take the representation.
    """
    from vae_jax.models import conv_vae, pianoroll_vae

    makers: dict[str, tuple[Any, str]] = {"post": (conv_vae.PostVAE, "events"), "roll": (pianoroll_vae.RollVAE, "roll")}
    fields = dict(config)
    name = fields.pop("name")
    if name not in makers:
        raise UserError(f"config.model.name must be one of {', '.join(makers)}, got {name!r}")
    form = fields.get("reparameterisation", STANDARD)
    if form not in (STANDARD, POST):
        raise UserError(f"config.model.reparameterisation must be {STANDARD} or {POST}, got {form!r}")
    if fields.get("hidden", 4) < 4:
        raise UserError(f"config.model.hidden must be at least 4, got {fields['hidden']}")
    maker, takes = makers[name]
    if representation != takes:
        raise UserError(f"config.model.name={name} takes config.representation.name={takes}, not {representation}")
    return maker(example_shape=example_shape, **fields)
