"""One run on one device, on eight, and by several processes: the same steps, the same checkpoints."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from tiny_run import LAST_STEP, TinyRun, lines, random_examples

from vae_jax.training import checkpointing

SCRIPT = pathlib.Path(__file__).parents[1] / "tiny_run.py"
# Batches of 8, 8 and, filled up, 4.
SIZES = {"num_train": 20, "batch_size": 8}
TOLERANCE = 1e-4  # Relative, of every logged value after 12 steps; docs/scale.md states it.


def start(folder: pathlib.Path, *arguments: str, num_devices: int = 1, **flags: int | str) -> subprocess.Popen:
    root = SCRIPT.parent.parent
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {
        "PYTHONPATH": path,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
    }
    options = [f"--{name}={value}" for name, value in {"folder": folder, **SIZES, **flags}.items()]
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *options, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_several(folder: pathlib.Path, count: int, **flags: int | str) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    shared = {"coordinator_address": address, "num_processes": count, "heartbeat_timeout_sec": 10}
    return [start(folder, process_id=n, **shared, **flags) for n in range(count)]


def await_epoch(process: subprocess.Popen, epoch: int) -> None:
    assert process.stdout is not None
    assert any(line.startswith(f"epoch {epoch}/") for line in process.stdout)


def finish(*processes: subprocess.Popen) -> list[str]:
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    return outputs


def state_of(tiny_run: TinyRun, folder: pathlib.Path, step: int = LAST_STEP):
    restored = checkpointing.restore(folder / "checkpoints", tiny_run.abstract())
    assert restored is not None and restored[1] == step
    return jax.device_get(restored[0])


def assert_same_run(tiny_run: TinyRun, folder: pathlib.Path, expected: pathlib.Path) -> None:
    assert len(lines(folder)) == len(lines(expected)) > 0
    for mine, theirs in zip(lines(folder), lines(expected), strict=True):
        assert mine == pytest.approx(theirs, rel=TOLERANCE)
    for mine, theirs in zip(*(jax.tree.leaves(state_of(tiny_run, one)) for one in (folder, expected)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def on_one_device(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("one")
    train = random_examples(SIZES["num_train"], 0)
    tiny_run.fit(folder, tiny_run.fresh_step(), train=train, batch_size=SIZES["batch_size"])
    return folder


def test_eight_devices_make_the_same_run(tiny_run, on_one_device, tmp_path):
    finish(start(tmp_path, num_devices=8))
    assert_same_run(tiny_run, tmp_path, on_one_device)


def test_two_processes_make_the_same_run(tiny_run, on_one_device, tmp_path):
    first, second = finish(*start_several(tmp_path, 2, num_devices=2))
    assert "process 0 of 2, 4 devices in all" in first and "finished" in first
    assert "process 1 of 2, 4 devices in all" in second and "finished" not in second  # Only the main process prints.
    assert_same_run(tiny_run, tmp_path, on_one_device)


def test_a_signal_to_one_process_stops_both_after_the_same_step(tiny_run, tmp_path):
    processes = start_several(tmp_path, 2, num_epochs=3000)
    await_epoch(processes[0], 1)
    processes[1].send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [128 + signal.SIGTERM] * 2, outputs
    step = checkpointing.steps(tmp_path / "checkpoints")[-1]
    assert all(f"stopped by SIGTERM: step {step} of 9000 is saved" in output for output in outputs)
    state_of(tiny_run, tmp_path, step)


def test_batches_that_cannot_be_sharded_are_named(tmp_path):
    (output,) = finish(start(tmp_path, num_devices=3, num_epochs=1))
    assert "batches of 8 cannot be sharded over 3 devices" in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coordinator_address": "localhost:1"}, "needs --num_processes and --process_id"),
        ({"num_processes": 2}, "need --coordinator_address"),
        ({"coordinator_address": "localhost:1", "num_processes": 2, "process_id": 2}, "must be below --num_processes"),
        ({"distributed": "true"}, "cannot be joined"),
    ],
)
def test_flags_that_do_not_say_enough_end_in_one_line(options, message, tmp_path):
    process = start(tmp_path, **options)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert message in output and output.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 2])
def test_a_job_that_lost_a_process_is_resumed_by_more_or_fewer(count, tiny_run, tmp_path):
    """Four processes, one killed, resumed by two; and the other way round."""
    num_epochs = 40
    expected, folder = tmp_path / "expected", tmp_path / "killed"
    finish(start(expected, num_epochs=num_epochs))
    processes = start_several(folder, count, num_epochs=num_epochs)
    await_epoch(processes[0], 6)
    os.kill(processes[-1].pid, signal.SIGKILL)
    for process in processes:
        process.communicate(timeout=60)
    assert all(process.returncode for process in processes)
    assert checkpointing.steps(folder / "checkpoints")
    outputs = finish(*start_several(folder, 6 - count, num_epochs=num_epochs))
    assert "resuming" in outputs[0]
    last = num_epochs * 3
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"] == last
    assert lines(folder)[-1] == pytest.approx(lines(expected)[-1], rel=1e-2)
    for mine, theirs in zip(
        *(jax.tree.leaves(state_of(tiny_run, one, last)) for one in (folder, expected)), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-2, atol=1e-3)
