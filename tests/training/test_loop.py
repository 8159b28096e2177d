"""The training loop: epochs logged, checkpoints saved, resumed as the same run; a planted likelihood is reached."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from linear_models import LinearVAE, Vectors
from tiny_run import CONFIG, LAST_STEP, NUM_TRAIN, STEPS_PER_EPOCH, TinyRun, bits, lines

from vae_jax.data import batching
from vae_jax.data.dataset import ArrayExamples, Dataset
from vae_jax.representations.note_matrix import NoteMatrix
from vae_jax.runtime.errors import UserError
from vae_jax.training import checkpointing, loop
from vae_jax.training.config import OptimizerConfig, TrainConfig
from vae_jax.training.run_dir import RunFolder
from vae_jax.training.step import TrainState, TrainStep


@pytest.fixture
def train_step(tiny_run: TinyRun) -> TrainStep:
    return tiny_run.train_step


@pytest.fixture
def fit(tiny_run: TinyRun) -> Callable[..., TrainState]:
    return tiny_run.fit


def test_training_lowers_the_loss(fit, tmp_path: pathlib.Path):
    state = fit(tmp_path / "run", num_epochs=60, eval_every_epochs=30, checkpoint_every_epochs=60)
    logged = lines(tmp_path / "run")
    assert int(state.step) == 60 * STEPS_PER_EPOCH
    assert logged[-1]["train_loss"] < 0.7 * logged[0]["train_loss"]
    assert logged[-1]["held_out_loss"] < logged[29]["held_out_loss"]


def test_few_examples_are_shown_more_often_in_an_epoch(fit, tmp_path: pathlib.Path):
    state = fit(tmp_path / "run", num_epochs=2, min_steps=10)
    assert int(state.step) == 12  # Two passes an epoch, three batches each.
    assert [(line["step"], line["epoch"]) for line in lines(tmp_path / "run")] == [(6, 1), (12, 2)]


def test_a_line_an_epoch_is_logged(fit, tmp_path: pathlib.Path):
    fit(tmp_path / "run")
    logged = lines(tmp_path / "run")
    assert [(line["step"], line["epoch"]) for line in logged] == [(3, 1), (6, 2), (9, 3), (12, 4)]
    assert {"train_loss", "train_distortion", "train_kl_nats", "train_grad_norm"} <= logged[0].keys()
    assert [line["epoch"] for line in logged if "held_out_loss" in line] == [2, 4]
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert b"held_out_loss" in events.read_bytes()


def test_losses_are_means_over_the_examples_of_an_epoch(fit, tmp_path: pathlib.Path, train_step):
    seen = []

    def watched(state, examples, batch):
        state, terms = train_step(state, examples, batch)
        seen.append((int(batch.size), float(terms["loss"])))
        return state, terms

    fit(tmp_path / "run", watched, num_epochs=1)
    assert [size for size, _ in seen] == [3, 3, 1]
    mean = sum(size * loss for size, loss in seen) / NUM_TRAIN
    assert lines(tmp_path / "run")[0]["train_loss"] == pytest.approx(mean, rel=1e-6)


@pytest.fixture
def harmful_step(train_step) -> TrainStep:
    def step(state, examples, batch):
        state, terms = train_step(state, examples, batch)
        return dataclasses.replace(state, params=jax.tree.map(lambda x: x + 0.3, state.params)), terms

    return step


KEEP_BEST = {"keep_best": True, "eval_every_epochs": 1, "checkpoint_every_epochs": 1, "keep_checkpoints": 1}


def test_the_best_checkpoint_is_kept(fit, tmp_path: pathlib.Path, harmful_step):
    """Where steps do harm it is the start, else the last; a finished run that goes on chooses again."""
    far, near = fit(tmp_path / "far", harmful_step, **KEEP_BEST), fit(tmp_path / "near", **KEEP_BEST)
    assert (int(far.step), int(near.step)) == (0, LAST_STEP)
    assert checkpointing.steps(RunFolder(tmp_path / "far").checkpoints) == [0, 3, 6, 9, 12]
    assert bits(fit(tmp_path / "far", harmful_step, **KEEP_BEST)) == bits(far)


def test_a_damaged_best_checkpoint_is_passed_over(fit, tmp_path: pathlib.Path, harmful_step, capsys):
    fit(tmp_path / "run", harmful_step, **KEEP_BEST)
    (RunFolder(tmp_path / "run").checkpoints / "00000000" / "manifest.json").write_text("{")
    assert int(fit(tmp_path / "run", harmful_step, **KEEP_BEST).step) == STEPS_PER_EPOCH
    assert "00000000 is damaged" in capsys.readouterr().err


def test_without_held_out_examples_nothing_is_evaluated(fit, tmp_path: pathlib.Path):
    fit(tmp_path / "run", held_out=None, num_epochs=2)
    assert not [name for line in lines(tmp_path / "run") for name in line if name.startswith("held_out")]


def test_the_final_state_is_saved(fit, tmp_path: pathlib.Path):
    state = fit(tmp_path / "run", num_epochs=3)
    folder = tmp_path / "run" / "checkpoints"
    assert checkpointing.steps(folder) == [6, 9]
    restored, step = checkpointing.restore(folder, jax.eval_shape(lambda: state))
    assert step == 9
    assert bits(restored) == bits(state)


class Killed(BaseException):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("moment", ["after the first save", "before the second save", "in the middle of an epoch"])
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(
    fit, train_step, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, moment: str
):
    expected = fit(tmp_path / "whole")
    save, steps_made = checkpointing.save, []

    def killed_save(folder, step, *arguments, **options):
        if moment == "before the second save" and step == LAST_STEP:
            raise Killed
        save(folder, step, *arguments, **options)
        if moment == "after the first save":
            raise Killed

    def killed_step(state, examples, batch):
        steps_made.append(int(state.step))
        if moment == "in the middle of an epoch" and steps_made[-1] == 10:
            raise Killed
        return train_step(state, examples, batch)

    monkeypatch.setattr(checkpointing, "save", killed_save)
    with pytest.raises(Killed):
        fit(tmp_path / "resumed", killed_step)
    monkeypatch.undo()
    assert checkpointing.steps(tmp_path / "resumed" / "checkpoints") == [6]

    steps_made.clear()
    moment = ""
    state = fit(tmp_path / "resumed", killed_step)
    assert steps_made == list(range(6, LAST_STEP))
    assert bits(state) == bits(expected)
    whole, resumed = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "resumed"))
    assert resumed == whole
    abstract = jax.eval_shape(lambda: expected)
    saved = [checkpointing.restore(tmp_path / name / "checkpoints", abstract) for name in ("whole", "resumed")]
    assert bits(saved[0][0]) == bits(saved[1][0])
    assert saved[0][1] == saved[1][1] == LAST_STEP


def test_a_line_that_a_kill_cut_short_is_written_again(fit, tmp_path: pathlib.Path):
    fit(tmp_path / "run", num_epochs=2)
    log = tmp_path / "run" / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 9, "epoch": 3, "train_lo')
    fit(tmp_path / "run")
    assert [line["epoch"] for line in lines(tmp_path / "run")] == [1, 2, 3, 4]


def test_a_finished_run_is_not_trained_again(fit, train_step, tmp_path: pathlib.Path):
    expected = fit(tmp_path / "run")
    logged = (tmp_path / "run" / "metrics.jsonl").read_bytes()

    def forbidden(*_: Any) -> Any:
        raise AssertionError("a step was made")

    assert bits(fit(tmp_path / "run", forbidden)) == bits(expected)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == logged


def test_resuming_is_said(fit, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    fit(tmp_path / "run", num_epochs=2)
    assert "resuming" not in capsys.readouterr().out
    fit(tmp_path / "run")
    assert f"resuming {tmp_path / 'run'} from step 6 of 12" in capsys.readouterr().out


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["loss", "grad_norm"])
def test_a_loss_that_is_not_finite_stops_the_run(fit, train_step, tmp_path: pathlib.Path, name: str, value: float):
    def breaking(state, examples, batch):
        state, terms = train_step(state, examples, batch)
        if int(state.step) == 8:  # The second step of the third epoch.
            terms[name] = jnp.asarray(value)
        return state, terms

    with pytest.raises(UserError) as caught:
        fit(tmp_path / "run", breaking)
    folder = tmp_path / "run" / "checkpoints"
    message = str(caught.value)
    assert message.startswith(f"{name} is {value} at step 8; the last good checkpoint is step 6 in {folder}")
    assert checkpointing.steps(folder) == [6]
    assert [line["epoch"] for line in lines(tmp_path / "run")] == [1, 2]


def test_a_state_that_is_not_finite_is_not_saved(fit, train_step, tmp_path: pathlib.Path):
    def breaking(state, examples, batch):
        state, terms = train_step(state, examples, batch)
        if int(state.step) == 12:  # All losses and gradients so far were finite.
            state = state.replace(params=jax.tree.map(lambda leaf: leaf * jnp.inf, state.params))
        return state, terms

    with pytest.raises(UserError, match="not finite") as caught:
        fit(tmp_path / "run", breaking, held_out=None)
    assert str(caught.value).startswith(
        "the training state is not finite after step 12; the last good checkpoint is step 6"
    )
    assert checkpointing.steps(tmp_path / "run" / "checkpoints") == [6]


def test_a_held_out_loss_that_is_not_finite_stops_the_run(fit, tmp_path: pathlib.Path):
    held_out = NoteMatrix(np.full((4, 8, 3, 2), np.nan, np.float32))
    with pytest.raises(UserError, match="held_out_distortion is nan at step 6; nothing is saved"):
        fit(tmp_path / "run", held_out=held_out)


def test_a_loss_that_is_not_finite_from_the_start_names_no_checkpoint(fit, train_step, tmp_path: pathlib.Path):
    def breaking(state, examples, batch):
        return train_step(state, NoteMatrix(examples.values * jnp.nan), batch)

    with pytest.raises(UserError, match="is nan at step 1; nothing is saved"):
        fit(tmp_path / "run", breaking)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_the_order_of_the_examples_is_that_of_the_seed(fit, train_step, tmp_path: pathlib.Path):
    seen = []

    def watched(state, examples, batch):
        seen.append((np.asarray(batch.rows).tolist(), int(batch.size)))
        return train_step(state, examples, batch)

    fit(tmp_path / "run", watched, num_epochs=2)
    arguments = {"num_examples": NUM_TRAIN, "batch_size": 3, "seed": CONFIG["seed"]}
    expected = [batching.batch_indices(step, **arguments) for step in range(6)]
    assert seen == [(rows.tolist(), size) for rows, size in expected]
    for epoch in (seen[:3], seen[3:]):  # Every example once an epoch.
        assert sorted(row for rows, size in epoch for row in rows[:size]) == list(range(NUM_TRAIN))
    assert seen[:3] != seen[3:]


def test_a_model_reaches_the_likelihood_of_the_distribution_that_its_data_come_from(tmp_path: pathlib.Path):
    # Probabilistic PCA: x = z W + mean + noise. Its log likelihood is known, and the best ELBO of a linear VAE.
    rng = np.random.default_rng(0)
    weights, mean, noise = rng.normal(size=(2, 6)), rng.normal(size=6), 0.5

    def sample(count: int) -> Vectors:
        x = rng.normal(size=(count, 2)) @ weights + mean + noise * rng.normal(size=(count, 6))
        return Vectors(x.astype(np.float32))

    train, held_out = sample(8000), sample(4000)
    truth = scipy.stats.multivariate_normal(mean, weights.T @ weights + noise**2 * np.eye(6))
    best = -np.mean(truth.logpdf(held_out.x))
    independent = scipy.stats.multivariate_normal(train.x.mean(axis=0), np.diag(train.x.var(axis=0)))
    assert -np.mean(independent.logpdf(held_out.x)) > best + 1  # There is something to learn.
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam needs it.
        loop.fit(
            LinearVAE(6, 2, OptimizerConfig("adam", 0.02, clip_norm=100.0)),
            Dataset(ArrayExamples(train), held_out),
            TrainConfig(batch_size=200, num_epochs=20, eval_every_epochs=20, checkpoint_every_epochs=20),
            RunFolder(tmp_path),
            key=jax.random.key(0),
            order_seed=0,
        )
    reached = lines(tmp_path)[-1]["held_out_loss"]
    # No model of this family does better but by chance: one sample of the posterior an example, 4,000 examples.
    assert best - 0.05 < reached < best + 0.1
