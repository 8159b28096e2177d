"""Numbers that are not finite: the run stops, or goes back and on with a lower learning rate, the same after a kill."""

from __future__ import annotations

import copy
import json
import math
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import CONFIG, LAST_STEP, TinyRun, bits, lines

from vae_jax.runtime.errors import UserError
from vae_jax.training import checkpointing, loop, retries
from vae_jax.training import step as step_lib
from vae_jax.training.experiment import build_experiment


class Killed(BaseException):
    """Stands for whatever ends a process."""


def breaking_above(tiny_run: TinyRun, threshold: float, at_step: int) -> Callable[[float], loop.TrainStep]:
    """Makes steps that give NaN at a step while the learning rate's factor is above a threshold."""

    def make(factor: float) -> loop.TrainStep:
        inner = tiny_run.slower_step(factor)

        def step(state, arrays, batch):
            number = int(state.step)
            state, terms = inner(state, arrays, batch)
            if number == at_step and factor > threshold:
                terms["loss"] = jnp.asarray(math.nan)
            return state, terms

        return step

    return make


def test_the_run_goes_back_and_on_with_half_the_learning_rate(
    tiny_run: TinyRun, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "run"
    state = tiny_run.fit(path, make_step=breaking_above(tiny_run, 0.7, 8), on_nan="restore")
    assert int(state.step) == LAST_STEP
    out = capsys.readouterr().out
    assert "loss is nan at step 9: going back to step 6 with the learning rate times 0.5 (retry 1 of 5)" in out
    assert [entry["from_step"] for entry in json.loads((path / "retries.json").read_text())] == [6]
    assert [line["step"] for line in lines(path)] == [3, 6, 9, 12]
    assert [line.get("learning_rate_factor") for line in lines(path)] == [None, None, 0.5, 0.5]

    # The same updates by hand: at full rate to step 6, at half of it from there.
    other = tmp_path / "by_hand"
    tiny_run.fit(other, num_epochs=2)
    expected = tiny_run.fit(other, tiny_run.slower_step(0.5))
    assert bits(state) == bits(expected)


@pytest.mark.parametrize("kill_at", [7, 8, 10])
def test_a_retried_run_that_is_killed_ends_as_the_uninterrupted_one(
    tiny_run: TinyRun, tmp_path: pathlib.Path, kill_at: int
):
    make = breaking_above(tiny_run, 0.7, 8)
    expected = tiny_run.fit(tmp_path / "whole", make_step=make, on_nan="restore")

    def make_killed(factor: float) -> loop.TrainStep:
        def step(state, arrays, batch):
            if factor < 1 and int(state.step) == kill_at:
                raise Killed
            return make(factor)(state, arrays, batch)

        return step

    with pytest.raises(Killed):
        tiny_run.fit(tmp_path / "killed", make_step=make_killed, on_nan="restore")
    state = tiny_run.fit(tmp_path / "killed", make_step=make)  # What was decided holds, whatever the config now says.
    assert bits(state) == bits(expected)
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")


def test_without_a_checkpoint_the_run_starts_again(tiny_run: TinyRun, tmp_path: pathlib.Path):
    state = tiny_run.fit(tmp_path / "run", make_step=breaking_above(tiny_run, 0.7, 1), on_nan="restore")
    assert int(state.step) == LAST_STEP
    assert [line["learning_rate_factor"] for line in lines(tmp_path / "run")] == [0.5] * 4


def test_retries_come_to_an_end(tiny_run: TinyRun, tmp_path: pathlib.Path):
    factors = []

    def make(factor: float) -> loop.TrainStep:
        factors.append(factor)
        return breaking_above(tiny_run, 0.0, 8)(1.0)

    with pytest.raises(UserError, match=r"loss is nan at step 9, after 5 retries; the last good checkpoint is step 6"):
        tiny_run.fit(tmp_path / "run", make_step=make, on_nan="restore")
    assert factors == [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32]
    assert len(json.loads((tmp_path / "run" / "retries.json").read_text())) == retries.MAX_RETRIES


def test_stopping_names_the_way_to_go_on(tiny_run: TinyRun, tmp_path: pathlib.Path):
    with pytest.raises(UserError, match=r"--config.train.on_nan=restore"):
        tiny_run.fit(tmp_path / "run", make_step=breaking_above(tiny_run, 0.0, 8))
    assert not (tmp_path / "run" / "retries.json").exists()


def test_a_state_that_is_not_finite_is_not_saved(tiny_run: TinyRun, tmp_path: pathlib.Path):
    def overflowing(state, arrays, batch):
        state, terms = tiny_run.train_step(state, arrays, batch)
        if int(state.step) == LAST_STEP:  # The losses are those before the update.
            state = state.replace(params=jax.tree.map(lambda leaf: leaf * jnp.inf, state.params))
        return state, terms

    with pytest.raises(UserError, match="the training state is not finite after step 12"):
        tiny_run.fit(tmp_path / "run", overflowing, held_out=None)
    assert checkpointing.steps(tmp_path / "run" / "checkpoints") == [6]


def test_a_held_out_loss_that_is_not_finite_stops_the_run(tiny_run: TinyRun, tmp_path: pathlib.Path):
    held_out = {"events": np.full((4, 8, 3, 2), np.nan, np.float32)}
    with pytest.raises(UserError, match=r"held_out_\w+ is nan at step 6"):
        tiny_run.fit(tmp_path / "run", held_out=held_out)


@pytest.mark.parametrize("name", ["rmsprop", "adam"])
def test_the_factor_is_that_of_the_learning_rate(name: str):
    config = {"name": name, "learning_rate": 1e-2, "warmup_steps": 2, "clip_norm": 1.0, "b2": 0.99}
    params, grads = jnp.ones(3), jnp.array([0.1, -0.2, 0.3])
    moves = []
    for factor in (1.0, 0.5):
        optimizer = step_lib.make_optimizer(config, 10, factor)
        state = optimizer.init(params)
        for _ in range(2):
            with jax.numpy_dtype_promotion("standard"):  # Adam's bias correction, outside jit.
                updates, state = optimizer.update(grads, state, params)
        moves.append(updates)
    assert float(jnp.abs(moves[0]).sum()) > 0
    assert jnp.allclose(moves[1], moves[0] / 2, rtol=1e-5)


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"from_step": "six"}]'])
def test_a_damaged_file_of_retries_is_named(tmp_path: pathlib.Path, text: str):
    (tmp_path / "retries.json").write_text(text)
    with pytest.raises(UserError, match=r"retries\.json: damaged"):
        retries.read_retries(tmp_path / "retries.json")


def test_an_unknown_way_is_refused():
    config = copy.deepcopy(CONFIG)
    config["train"]["on_nan"] = "ignore"
    with pytest.raises(UserError, match=r"config\.train\.on_nan must be 'stop' or 'restore', got 'ignore'"):
        build_experiment(config)
