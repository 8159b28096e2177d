"""A VAE with its representation as a Trainable: its loss, keys, augmentation in training only, initial values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_roll import MODEL, REPRESENTATION, rasterized, training_crops

from vae_jax.data.dataset import ArrayExamples, Dataset
from vae_jax.models.pianoroll_start import from_pca
from vae_jax.representations import arrays
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.training.config import OptimizerConfig
from vae_jax.training.vae import TrainableVAE


def trainable(augmentation: Mapping[str, float], kl_weight: float = 0.3) -> TrainableVAE[BeatLists]:
    return TrainableVAE(MODEL, REPRESENTATION, kl_weight, augmentation, OptimizerConfig("rmsprop", 1e-3), seed=7)


@pytest.fixture(scope="module")
def dataset() -> Dataset[BeatLists]:
    return Dataset(ArrayExamples(training_crops()), None)


@pytest.fixture(scope="module")
def batch(dataset: Dataset[BeatLists]) -> BeatLists:
    return dataset.train.sample(8)


@pytest.fixture(scope="module")
def variables(dataset: Dataset[BeatLists]) -> dict[str, Any]:
    return trainable({}).init(jax.random.key(0), dataset)


apply = jax.jit(MODEL.apply)


def loss_of(
    one: TrainableVAE[BeatLists], variables: Any, batch: BeatLists, key: jax.Array, train: bool
) -> dict[str, np.ndarray]:
    loss, terms = jax.jit(one.loss, static_argnums=3)(variables, batch, key, train)
    chex.assert_shape([loss, *terms.values()], (arrays.num_examples(batch),))
    return {"loss": np.asarray(loss)} | jax.device_get(terms)


def expected_loss(variables: Any, batch: BeatLists, key: jax.Array) -> dict[str, np.ndarray]:
    """distortion + 0.3 KL, from what the model gives."""
    output = apply(variables, rasterized(batch), key)
    terms = {"distortion": np.asarray(output.distortion), "kl_nats": np.asarray(output.kl_nats)}
    return {"loss": terms["distortion"] + 0.3 * terms["kl_nats"]} | terms


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    chex.assert_trees_all_close(found, expected, rtol=1e-5)


def test_the_loss_is_distortion_plus_weighted_kl(variables: Any, batch: BeatLists):
    found = loss_of(trainable({}), variables, batch, jax.random.key(1), False)
    assert_close(found, expected_loss(variables, batch, jax.random.key(1)))


def test_augmentation_changes_training_only(variables: Any, batch: BeatLists):
    augmented = trainable({"drop_parts_probability": 1.0, "mix_probability": 0.5})
    evaluated = loss_of(augmented, variables, batch, jax.random.key(1), False)
    assert_close(evaluated, expected_loss(variables, batch, jax.random.key(1)))

    trained = loss_of(augmented, variables, batch, jax.random.key(1), True)
    augment_key, sample_key = jax.random.split(jax.random.key(1))
    augment = REPRESENTATION.make_augmentation({"drop_parts_probability": 1.0, "mix_probability": 0.5})
    changed = jax.jit(augment)(augment_key, batch)
    assert changed.mask.shape == (8, 8, 2 * REPRESENTATION.max_notes)
    assert_close(trained, expected_loss(variables, changed, sample_key))


def test_augmentation_of_probability_zero_is_left_out(variables: Any, batch: BeatLists):
    found = loss_of(trainable({"mix_probability": 0.0}), variables, batch, jax.random.key(1), True)
    assert_close(found, expected_loss(variables, batch, jax.random.split(jax.random.key(1))[1]))


def test_losses_of_two_keys_differ_in_the_sample_alone(variables: Any, batch: BeatLists):
    one, other = (loss_of(trainable({}), variables, batch, jax.random.key(n), True) for n in (1, 2))
    assert np.all(one["distortion"] != other["distortion"])
    np.testing.assert_array_equal(one["kl_nats"], other["kl_nats"])  # The prior does not depend on the sample yet.


def test_initial_values_come_from_the_training_examples(dataset: Dataset[BeatLists], variables: Any):
    drawn = trainable({}).init(jax.random.key(0), None)
    rolls = rasterized(dataset.train.sample(3072))
    chex.assert_trees_all_close(variables, from_pca(MODEL, drawn, lambda: [rolls], seed=7), rtol=1e-3, atol=1e-4)
    assert np.any(variables["params"]["bias"] != drawn["params"]["bias"])


def test_initial_values_are_those_of_the_key():
    drawn = [trainable({}).init(jax.random.key(n), None)["params"]["kernel"] for n in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.any(drawn[0] != drawn[2])


def test_the_seed_is_that_of_the_randomized_pca(dataset: Dataset[BeatLists], variables: Any):
    again = trainable({}).init(jax.random.key(0), dataset)
    chex.assert_trees_all_equal(again, variables)
    other = dataclasses.replace(trainable({}), seed=8).init(jax.random.key(0), dataset)
    assert np.any(other["params"]["kernel"] != variables["params"]["kernel"])
    np.testing.assert_array_equal(other["constants"]["features"], variables["constants"]["features"])


def test_the_loss_has_a_gradient_by_every_parameter(variables: Any, batch: BeatLists):
    def total(params: Any) -> jax.Array:
        loss, _ = trainable({}).loss(variables | {"params": params}, batch, jax.random.key(1), True)
        return jnp.sum(loss)

    # The prior's hidden layer has none where its outputs are zero, as they are at the start.
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(leaf, 0.02).astype(np.float32), variables["params"])
    grads = jax.jit(jax.grad(total))(params)
    assert all(np.any(leaf != 0) and np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))
