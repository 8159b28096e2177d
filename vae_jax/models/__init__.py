"""Models: one file a family. A model has `encode(x) -> Posterior`, `decode(z) -> outputs` and `__call__(x, key)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vae_jax.errors import UserError


def make_model(config: Mapping[str, Any], representation: str, example_shape: tuple[int, ...]) -> Any:
    """Returns the model that a config's `model` section names, for examples of the given shape.

    Raises:
      UserError: for an unknown name, or where the model does not take the representation.
    """
    from vae_jax.models import post, roll

    makers: dict[str, tuple[Any, str]] = {"post": (post.PostVAE, "events"), "roll": (roll.RollVAE, "roll")}
    fields = dict(config)
    name = fields.pop("name")
    if name not in makers:
        raise UserError(f"config.model.name must be one of {', '.join(makers)}, got {name!r}")
    maker, takes = makers[name]
    if representation != takes:
        raise UserError(f"config.model.name={name} takes config.representation.name={takes}, not {representation}")
    return maker(example_shape=example_shape, **fields)
