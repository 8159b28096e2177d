"""configs/anthems_gpu.py on a CPU: its shapes as they are, and some updates of both stages with fewer of everything."""

from __future__ import annotations

import pathlib

import jax
import numpy as np
import pytest

from configs import anthems, anthems_gpu
from vae_jax.composer import stage as stage_lib
from vae_jax.data import corpus as corpus_lib
from vae_jax.data.splits import Split
from vae_jax.models.base import Variables
from vae_jax.training import loop, step
from vae_jax.training.experiment import Experiment, build_experiment
from vae_jax.training.run_dir import RunFolder

FEWER = {
    "model": {"latent_dim": 4, "num_onset_cells": 200, "num_drum_cells": 20, "num_durations": 60, "num_iterations": 1},
    "representation": {"crop_beats": 16},
    "train": {"num_epochs": 1, "min_steps": 3},
    "composer": {"channels": 16, "latent_dim": 2, "crop_notes": 64, "crop_hop": 64, "num_drums": 3},
}

CORPUS, SPLIT = corpus_lib.synthetic_corpus(2, 0), Split((0, 1), ())


def num_parameters(config) -> tuple[int, int]:
    """Of the two stages, without drawing them."""
    experiment = build_experiment(config.to_dict())
    stages = experiment.trainable, stage_lib.build_stage(experiment)
    states = [step.abstract_state(one, 0.0, jax.random.key(0)) for one in stages]
    return tuple(sum(leaf.size for leaf in jax.tree.leaves(state.params)) for state in states)


def test_the_vae_is_larger_than_the_flagships_and_the_composer_has_the_shape_of_the_shipped_one():
    larger, flagship = num_parameters(anthems_gpu.get_config()), num_parameters(anthems.get_config())
    assert larger[0] > 1.3 * flagship[0] and larger[1] == flagship[1]


def test_only_the_flagships_fields_are_changed():
    config, flagship = (one.get_config().to_dict() for one in (anthems_gpu, anthems))
    for section in ("data", "representation", "augment", "loss", "optimizer", "sample"):
        assert config[section] == flagship[section]


def small_experiment() -> Experiment:
    config = anthems_gpu.get_config()
    config.update(FEWER)
    config.composer.train.update(FEWER["train"])
    return build_experiment(config.to_dict())


def assert_trained(variables: Variables, num_updates: int) -> None:
    assert num_updates >= FEWER["train"]["min_steps"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables["params"]))


@jax.numpy_dtype_promotion("standard")  # As users have it.
def test_the_first_stage_makes_updates(tmp_path: pathlib.Path):
    experiment = small_experiment()
    dataset = experiment.make_dataset(CORPUS, SPLIT)
    state = loop.fit(
        experiment.trainable, dataset, experiment.train, RunFolder(tmp_path), key=experiment.key(), order_seed=0
    )
    assert_trained(state.trained_variables, int(state.step))


@pytest.mark.slow
@jax.numpy_dtype_promotion("standard")
def test_the_composer_makes_updates(tmp_path: pathlib.Path):
    composer = stage_lib.train_composer(small_experiment(), CORPUS, SPLIT, RunFolder(tmp_path))
    assert_trained(composer.variables, composer.num_updates)
