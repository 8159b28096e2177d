"""Configs: those of the project can be built, and every impossible value is refused by its field."""

from __future__ import annotations

import copy
import importlib
import math

import pytest
from command_line import REPOSITORY

from configs import anthems, post, smoke
from vae_jax.runtime.errors import UserError
from vae_jax.training.experiment import build_experiment

HOSTILE = {
    int: [-1, 0, 2**31, 2**63, 10**30],
    float: [-1.0, 0.0, math.nan, math.inf, 1e300],
    str: ["", "../../x", "\0", "no\nsuch"],
}
NAMES = sorted(path.stem for path in (REPOSITORY / "configs").glob("*.py") if path.stem not in ("__init__", "base"))


@pytest.mark.parametrize("name", NAMES)
def test_every_config_can_be_built(name: str):
    config = importlib.import_module(f"configs.{name}").get_config()
    experiment = build_experiment(config.to_dict())
    assert experiment.name == name
    assert experiment.model.latent_dim == config.model.latent_dim


def test_the_posts_config_is_the_posts_experiment():
    config = post.get_config()
    assert (config.train.batch_size, config.train.num_epochs, config.data.num_held_out) == (10, 100, 10)
    assert (config.model.distortion, config.loss.kl_weight) == ("msle", 0.5)
    assert (config.optimizer.name, config.optimizer.learning_rate) == ("rmsprop", 1e-3)
    assert (config.model.latent_dim, config.model.reparameterization) == (2, "post")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train.batch_size", 0),
        ("train.num_epochs", -1),
        ("train.keep_checkpoints", 0),
        ("train.checkpoint_every_epochs", 0),
        ("train.eval_every_epochs", 0),
        ("optimizer.learning_rate", 0.0),
        ("optimizer.learning_rate", math.nan),
        ("optimizer.name", "adamw"),
        ("model.latent_dim", 0),
        ("model.hidden", 3),
        ("model.name", "transformer"),
        ("model.reparameterization", "keras"),
        ("model.distortion", "bce"),
        ("representation.num_notes", -5),
        ("representation.name", "spectrogram"),
        ("loss.kl_weight", math.inf),
        ("sample.num", -1),
        ("seed", -1),
        ("seed", 2**32),  # Beyond what k-means takes for a seed.
        ("sample.seed", 2**70),
    ],
)
def test_an_impossible_value_is_refused_by_its_field(field: str, value: object):
    config = copy.deepcopy(smoke.get_config().to_dict())
    section, _, name = field.rpartition(".")
    (config[section] if section else config)[name] = value
    with pytest.raises(UserError) as caught:
        build_experiment(config)
    assert f"config.{field}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def hostile_configs(config: dict) -> list[tuple[str, dict]]:
    """The config with one field after another changed to each hostile value of its type."""
    changed = []
    for section, fields in config.items():
        for name, value in fields.items() if isinstance(fields, dict) else [("", fields)]:
            for hostile in HOSTILE.get(type(value), []):
                one = copy.deepcopy(config)
                (one[section] if name else one)[name or section] = hostile
                changed.append((f"{section}.{name}={hostile!r}", one))
    return changed


@pytest.mark.parametrize("module", [smoke, anthems])
def test_any_hostile_value_is_refused_in_one_line_or_can_be_built(module):
    refused = []
    for what, config in hostile_configs(module.get_config().to_dict()):
        try:
            build_experiment(config).train.num_steps(100)
        except UserError as error:
            refused.append((what, str(error)))
    assert len(refused) > 50
    assert [what for what, reason in refused if len(reason.splitlines()) != 1] == []


@pytest.mark.parametrize("name", ["name", "seed", "representation", "model", "loss", "optimizer", "train", "sample"])
def test_a_config_that_lacks_a_part_is_refused(name: str):
    config = smoke.get_config().to_dict()
    del config[name]
    with pytest.raises(UserError, match=rf"config\.{name} is missing"):
        build_experiment(config)
