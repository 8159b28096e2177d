"""Models: one file a family. A model has `encode(x) -> Posterior`, `decode(z) -> outputs` and `__call__(x, key)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vae_jax.errors import UserError


def make_model(config: Mapping[str, Any], example_shape: tuple[int, ...]) -> Any:
    """Returns the model that a config's `model` section names, for examples of the given shape.

    Raises:
      UserError: for an unknown name, or where the examples do not fit the model.
    """
    from vae_jax.models import post

    makers: dict[str, tuple[Any, int]] = {"post": (post.PostVAE, 3)}
    fields = dict(config)
    name = fields.pop("name")
    if name not in makers:
        raise UserError(f"config.model.name must be one of {', '.join(makers)}, got {name!r}")
    maker, rank = makers[name]
    if len(example_shape) != rank:
        raise UserError(
            f"config.model.name={name} takes examples of {rank} axes, the representation gives {example_shape}"
        )
    return maker(example_shape=example_shape, **fields)
