"""The model that a config names."""

from vae_jax.models.base import VAE, VAEConfig
from vae_jax.models.conv_vae import ConvVAE, ConvVAEConfig
from vae_jax.models.pianoroll_vae import RollVAE, RollVAEConfig
from vae_jax.runtime import config
from vae_jax.runtime.config import Fields
from vae_jax.runtime.errors import UserError

# By name: the module, its config section, and the representation whose examples it takes.
MODELS: dict[str, tuple[type[VAE], type[VAEConfig], str]] = {
    "conv_vae": (ConvVAE, ConvVAEConfig, "note_matrix"),
    "pianoroll_vae": (RollVAE, RollVAEConfig, "pianoroll"),
}


def make_model(fields: Fields, representation: Fields, example_shape: tuple[int, ...]) -> VAE:
    """Returns the model that a config's `model` section names, for examples of the given shape.

    A field that the `representation` section has too must have the same value there.

    Raises:
      UserError: for an unknown name or field, a value outside its range, or a representation that the model does not
        take.
    """
    (module, section, takes), others = config.choose(MODELS, fields, "config.model")
    if representation["name"] != takes:
        raise UserError(
            f"config.model.name={fields['name']} takes config.representation.name={takes}, not {representation['name']}"
        )
    for name in others.keys() & representation.keys():
        if others[name] != representation[name]:
            raise UserError(
                f"config.model.{name} is {others[name]} and config.representation.{name} {representation[name]}; "
                "they have to be equal"
            )
    return module(example_shape, config.make_section(section, others, "config.model"))
