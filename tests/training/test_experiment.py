"""What a config describes: the parts, the datasets, and configs that are refused."""

from __future__ import annotations

import copy
import importlib
import math
from typing import Any

import numpy as np
import pytest
from command_line import REPOSITORY
from tiny_run import CONFIG

from configs import anthems, post, smoke
from vae_jax.data import corpus
from vae_jax.data.splits import Split
from vae_jax.models import factory
from vae_jax.models.conv_vae import ConvVAE, ConvVAEConfig
from vae_jax.representations.note_matrix import NoteMatrix
from vae_jax.runtime.errors import UserError
from vae_jax.training.experiment import build_experiment, load_experiment

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
    assert experiment.trainable.model is experiment.model
    assert experiment.model.example_shape == experiment.representation.example_shape
    assert experiment.model.latent_dim == config.model.latent_dim
    assert experiment.trainable.kl_weight == config.loss.kl_weight
    assert experiment.train.batch_size == config.train.batch_size


def test_the_posts_config_is_the_posts_experiment():
    config = post.get_config()
    assert (config.train.batch_size, config.train.num_epochs, config.data.num_held_out) == (10, 100, 10)
    assert (config.model.distortion, config.loss.kl_weight) == ("msle", 0.5)
    assert (config.optimizer.name, config.optimizer.learning_rate) == ("rmsprop", 1e-3)
    assert (config.model.latent_dim, config.model.reparameterization) == (2, "post")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("seed", -1, "config.seed must not be negative, got -1"),
        ("seed", 2**32, "config.seed must be a number below 2**32"),  # Beyond what k-means takes for a seed.
        ("representation.name", "spectrogram", "config.representation.name must be one of note_matrix, pianoroll"),
        ("representation.num_notes", 0, "config.representation.num_notes must be at least 1, got 0"),
        ("representation.hop", 2, "config.representation has no field 'hop'; it has num_notes, num_tracks"),
        ("model.name", "transformer", "config.model.name must be one of conv_vae, pianoroll_vae, got 'transformer'"),
        ("model.name", "pianoroll_vae", "config.model.name=pianoroll_vae takes config.representation.name=pianoroll"),
        ("model.hidden", 3, "config.model.hidden must be at least 4, got 3"),
        ("model.latent_dim", 1.5, "config.model.latent_dim must be an integer, got 1.5"),
        ("model.distortion", "bce", "config.model.distortion must be one of msle, mse, got 'bce'"),
        ("model.depth", 3, "config.model has no field 'depth'"),
        ("loss.kl_weight", -0.1, "config.loss.kl_weight must not be negative, got -0.1"),
        ("loss.beta", 1.0, "config.loss has no field 'beta'; it has kl_weight"),
        ("optimizer.name", "adamw", "config.optimizer.name must be one of rmsprop, adam, got 'adamw'"),
        ("optimizer.learning_rate", 0.0, "config.optimizer.learning_rate must be above zero, got 0.0"),
        ("train.batch_size", 0, "config.train.batch_size must be at least 1, got 0"),
        ("train.average_decay", 1.5, "config.train.average_decay must be at most 1, got 1.5"),
        ("sample.num", -1, "config.sample.num must not be negative, got -1"),
        ("augment", {"mix_probability": 0.5}, "config.augment has no field 'mix_probability'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_its_field(path: str, value: Any, message: str):
    config = copy.deepcopy(CONFIG)
    section, _, name = path.rpartition(".")
    (config[section] if section else config)[name] = value
    with pytest.raises(UserError) as caught:
        build_experiment(config)
    assert str(caught.value).startswith(message)
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


@pytest.mark.parametrize(
    "path",
    [
        *("name", "seed", "representation", "model", "loss", "optimizer", "train", "sample"),
        *("representation.name", "model.name", "optimizer.learning_rate", "train.num_epochs"),
    ],
)
def test_what_is_missing_is_named(path: str):
    config = copy.deepcopy(CONFIG)
    section, _, name = path.rpartition(".")
    del (config[section] if section else config)[name]
    with pytest.raises(UserError) as caught:
        build_experiment(config)
    assert str(caught.value) == f"config.{path} is missing"


def test_a_field_of_model_and_representation_has_one_value():
    config = anthems.get_config().to_dict()
    config["model"]["num_pitches"] = 48
    with pytest.raises(UserError, match=r"config\.model\.num_pitches is 48 and config\.representation\.num_pitches 84"):
        build_experiment(config)


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError, AssertionError])
def test_a_bug_in_a_model_is_not_blamed_on_the_config(error: type[Exception], monkeypatch: pytest.MonkeyPatch):
    class BrokenVAE(ConvVAE):
        def __post_init__(self) -> None:
            raise error("a bug")

    monkeypatch.setitem(factory.MODELS, "conv_vae", (BrokenVAE, ConvVAEConfig, "note_matrix"))
    with pytest.raises(error, match="a bug") as caught:
        build_experiment(CONFIG)
    assert not isinstance(caught.value, UserError)


def test_datasets_are_encoded_by_the_split():
    source = corpus.synthetic_corpus(4, 0)
    split = Split([2, 0], [3])
    experiment = build_experiment(CONFIG)
    dataset = experiment.make_dataset(source, split)
    encode = experiment.representation.encode
    expected = [encode(source.pieces[n].score).examples.values for n in (2, 0)]
    assert len(dataset.train) == 2
    np.testing.assert_array_equal(dataset.train.sample(2).values, np.concatenate(expected))
    assert isinstance(dataset.held_out, NoteMatrix)
    np.testing.assert_array_equal(dataset.held_out.values, encode(source.pieces[3].score).examples.values)
    assert experiment.make_dataset(source, Split([1], [])).held_out is None
    with pytest.raises(UserError, match="nothing to train on"):
        experiment.make_dataset(source, Split([], [3]))


def test_a_folder_without_a_run_is_refused(tmp_path: Any):
    with pytest.raises(UserError, match="no run here"):
        load_experiment(str(tmp_path))
