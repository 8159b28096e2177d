"""The optimiser, the train step and the loop: pure, traced once, and resumed as the same run."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_run import CONFIG, HELD_OUT, LAST_STEP, NUM_TRAIN, STEPS_PER_EPOCH, TRAIN, TinyRun, bits, lines

from vae_jax.data import batching
from vae_jax.data.dataset import Batch
from vae_jax.runtime import sharding
from vae_jax.runtime.errors import UserError
from vae_jax.training import checkpointing, loop
from vae_jax.training import step as step_lib
from vae_jax.training.experiment import Experiment, build_experiment
from vae_jax.training.step import TrainState


@pytest.fixture
def tiny(tiny_run: TinyRun) -> Experiment:
    return tiny_run.experiment


@pytest.fixture
def initial(tiny_run: TinyRun) -> Callable[[], TrainState]:
    return tiny_run.initial


@pytest.fixture
def train_step(tiny_run: TinyRun) -> loop.TrainStep:
    return tiny_run.train_step


@pytest.fixture
def eval_step(tiny_run: TinyRun) -> loop.EvalStep:
    return tiny_run.eval_step


@pytest.fixture
def fit(tiny_run: TinyRun) -> Callable[..., TrainState]:
    return tiny_run.fit


def examples() -> dict[str, jax.Array]:
    return sharding.replicate(TRAIN)


def batch(*indices: int, size: int = 3) -> Batch:
    return Batch.place(np.array(indices, np.int32), len(indices), size)


# The optimiser.


def test_rmsprop_is_that_of_keras():
    learning_rate, rho, epsilon = 1e-3, 0.9, 1e-7
    optimizer = step_lib.make_optimizer({"name": "rmsprop", "learning_rate": learning_rate}, LAST_STEP)
    params = jnp.array([1.0, -2.0, 0.5])
    state = optimizer.init(params)
    expected, accumulator = np.array([1.0, -2.0, 0.5]), np.zeros(3)
    for gradient in (np.array([0.5, -3.0, 1e-7]), np.array([-0.25, 1.0, 2e-7])):
        updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
        accumulator = rho * accumulator + (1 - rho) * gradient**2
        expected = expected - learning_rate * gradient / (np.sqrt(accumulator) + epsilon)
        np.testing.assert_allclose(np.asarray(params) - [1, -2, 0.5], expected - [1, -2, 0.5], rtol=1e-3)


def test_an_unknown_optimiser_is_refused_by_name():
    with pytest.raises(UserError, match="'adamw'"):
        step_lib.make_optimizer({"name": "adamw", "learning_rate": 1e-3}, LAST_STEP)


# The steps.


def test_a_step_is_the_gradient_step_of_the_mean_loss(tiny: Experiment, initial, train_step):
    state, picked = initial(), batch(4, 0, 6)
    x = examples()["events"][picked.rows]
    key = jax.random.split(jax.random.fold_in(tiny.keys()["train"], 0))[1]

    def mean_loss(params):
        outputs, posterior = tiny.model.apply({"params": params}, x, key)
        return jnp.mean(tiny.objective(outputs, x, posterior)["loss"])

    with jax.debug_key_reuse(False):  # The step draws with this very key once more.
        loss, grads = jax.jit(jax.value_and_grad(mean_loss))(state.params)
    updates, _ = tiny.optimizer(LAST_STEP).update(grads, state.opt_state, state.params)
    expected = optax.apply_updates(state.params, updates)
    after, terms = train_step(initial(), examples(), picked)
    assert int(after.step) == 1
    assert float(terms["loss"]) == pytest.approx(float(loss), rel=1e-5)
    assert float(terms["grad_norm"]) == pytest.approx(float(optax.tree.norm(grads)), rel=1e-4)
    assert float(terms["loss"]) == pytest.approx(float(terms["msle"]) + 0.5 * float(terms["kl_nats"]), rel=1e-5)
    moved = 0
    for leaf, other in zip(jax.tree.leaves(after.params), jax.tree.leaves(expected), strict=True):
        # RMSprop's first step hardly depends on the gradient's size: a gradient near zero may go either way.
        close = np.isclose(leaf, other, rtol=1e-3, atol=1e-5)
        assert np.mean(close) > 0.9
        moved += close.size
    assert moved > 500


def test_a_step_depends_on_its_arguments_alone(initial, train_step):
    first, first_terms = train_step(initial(), examples(), batch(0, 1, 2))
    again, again_terms = train_step(initial(), examples(), batch(0, 1, 2))
    assert bits(first) == bits(again)
    assert jax.device_get(first_terms) == jax.device_get(again_terms)


def test_every_step_draws_with_a_key_of_its_own(initial, train_step):
    terms = [
        train_step(
            initial().replace(step=sharding.replicate(jnp.asarray(step, jnp.int32))), examples(), batch(0, 1, 2)
        )[1]
        for step in (0, 1)
    ]
    assert float(terms[0]["msle"]) != float(terms[1]["msle"])
    assert float(terms[0]["kl_nats"]) == float(terms[1]["kl_nats"])


def test_the_state_is_donated(initial, train_step):
    state = initial()
    train_step(state, examples(), batch(0, 1, 2))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_what_fills_a_batch_up_does_not_count(tiny: Experiment, initial, train_step):
    alone, alone_terms = tiny.train_step(LAST_STEP)(initial(), examples(), batch(4, size=1))
    for others in [(4, 4), (0, 6)]:
        filled, filled_terms = train_step(initial(), examples(), batch(4, *others, size=1))
        for name, value in alone_terms.items():
            assert float(filled_terms[name]) == pytest.approx(float(value), rel=1e-5)
        for leaf, other in zip(jax.tree.leaves(filled.params), jax.tree.leaves(alone.params), strict=True):
            assert np.mean(np.isclose(leaf, other, rtol=1e-3, atol=1e-5)) > 0.9


def test_a_second_shape_of_batch_is_not_traced(initial, train_step):
    state = initial()
    for picked in ([0, 1, 2], [2, 3, 4], [4, 4, 4]):
        state, _ = train_step(state, examples(), batch(*picked))
    with pytest.raises(AssertionError, match="traced"):
        train_step(state, examples(), batch(0, 1))


def test_evaluation_gives_the_terms_of_each_example(initial, eval_step):
    state, held_out = initial(), jax.device_put(HELD_OUT)
    terms = eval_step(state, held_out, jnp.arange(3))
    assert {name: values.shape for name, values in terms.items()} == {"loss": (3,), "msle": (3,), "kl_nats": (3,)}
    again = eval_step(state, held_out, jnp.arange(3))
    later = eval_step(state.replace(step=state.step + 1), held_out, jnp.arange(3))
    np.testing.assert_array_equal(terms["msle"], again["msle"])
    assert np.all(np.asarray(terms["msle"]) != np.asarray(later["msle"]))


def test_the_keys_of_an_experiment_differ(tiny: Experiment):
    keys = {name: tuple(jax.random.key_data(key).tolist()) for name, key in tiny.keys().items()}
    assert len(set(keys.values())) == len(keys) == 3
    other = build_experiment(CONFIG | {"seed": 4}).keys()
    assert not set(keys.values()) & {tuple(jax.random.key_data(key).tolist()) for key in other.values()}


# The loop.


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
    assert {"train_loss", "train_msle", "train_kl_nats", "train_grad_norm"} <= logged[0].keys()
    assert [line["epoch"] for line in logged if "held_out_loss" in line] == [2, 4]
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert b"held_out_loss" in events.read_bytes()


def test_losses_are_means_over_the_examples_of_an_epoch(fit, tmp_path: pathlib.Path, train_step):
    seen = []

    def watched(state, arrays, batch):
        state, terms = train_step(state, arrays, batch)
        seen.append((int(batch.size), float(terms["loss"])))
        return state, terms

    fit(tmp_path / "run", watched, num_epochs=1)
    assert [size for size, _ in seen] == [3, 3, 1]
    mean = sum(size * loss for size, loss in seen) / NUM_TRAIN
    assert lines(tmp_path / "run")[0]["train_loss"] == pytest.approx(mean, rel=1e-6)


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

    def killed_step(state, arrays, batch):
        steps_made.append(int(state.step))
        if moment == "in the middle of an epoch" and steps_made[-1] == 10:
            raise Killed
        return train_step(state, arrays, batch)

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
    def breaking(state, arrays, batch):
        state, terms = train_step(state, arrays, batch)
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


def test_a_loss_that_is_not_finite_from_the_start_names_no_checkpoint(fit, train_step, tmp_path: pathlib.Path):
    def breaking(state, arrays, batch):
        return train_step(state, {"events": arrays["events"] * jnp.nan}, batch)

    with pytest.raises(UserError, match="is nan at step 1; no checkpoint was saved yet"):
        fit(tmp_path / "run", breaking)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_the_order_of_the_examples_is_that_of_the_seed(fit, train_step, tmp_path: pathlib.Path):
    seen = []

    def watched(state, arrays, batch):
        seen.append((np.asarray(batch.rows).tolist(), int(batch.size)))
        return train_step(state, arrays, batch)

    fit(tmp_path / "run", watched, num_epochs=2)
    arguments = {"num_examples": NUM_TRAIN, "batch_size": 3, "seed": CONFIG["seed"]}
    expected = [batching.batch_indices(step, **arguments) for step in range(6)]
    assert seen == [(rows.tolist(), size) for rows, size in expected]
