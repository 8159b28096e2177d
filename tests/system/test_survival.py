"""What a run survives: kill -9 anywhere, a full disk, other devices and cores."""

from __future__ import annotations

import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from command_line import REPOSITORY

NUM_KILLS = int(os.environ.get("VAE_JAX_KILLS", "100"))
NUM_EPOCHS = 20 + 4 * NUM_KILLS  # Every second life makes two or three, the others seldom one.
TIMEOUT_SEC = 240


def start(arguments: list[object], cache: pathlib.Path, **variables: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "JAX_PLATFORMS": "cpu",
        "PYTHONUNBUFFERED": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        **variables,
    }
    pipe = subprocess.PIPE
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=pipe, stderr=pipe, text=True)


def tiny(folder: pathlib.Path, num_epochs: int) -> list[object]:
    return ["tests/tiny_run.py", f"--folder={folder}", f"--num_epochs={num_epochs}"]


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    with process:
        out, err = process.communicate(timeout=TIMEOUT_SEC)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Compiled programs, shared by the processes."""
    return tmp_path_factory.mktemp("compiled")


def saved_bits(folder: pathlib.Path) -> dict[str, bytes]:
    from tiny_run import bits, make_tiny_run

    from vae_jax.training import checkpointing

    restored = checkpointing.restore(folder / "checkpoints", make_tiny_run().abstract())
    assert restored is not None
    return bits(restored[0])


# kill -9.


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_the_uninterrupted_one(
    tmp_path: pathlib.Path, cache: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    done = finish(start(tiny(tmp_path / "whole", NUM_EPOCHS), cache))
    assert done.returncode == 0, done.stderr
    rng = random.Random(0)
    killed, in_a_save, folder = 0, 0, tmp_path / "killed"
    while killed < NUM_KILLS:
        with start(tiny(folder, NUM_EPOCHS), cache) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            if killed:
                assert line.startswith("resuming") or in_first_epoch(folder), line
            if killed % 2:  # From the first save on; else from the restoring and tracing before it.
                await_save(folder, process)
            time.sleep(rng.uniform(0, 0.2 if killed % 2 else 1))
            assert process.poll() is None, "the run is too short for so many kills"
            process.send_signal(signal.SIGKILL)
        killed += 1
        in_a_save += any(folder.glob("checkpoints/*.unfinished"))
    done = finish(start(tiny(folder, NUM_EPOCHS), cache))
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    with capsys.disabled():
        print(f"\n{killed} kills, {in_a_save} of them inside a save")
    assert in_a_save >= NUM_KILLS // 10
    assert saved_bits(folder) == saved_bits(tmp_path / "whole")
    assert (folder / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        path.name for path in (tmp_path / "whole" / "checkpoints").iterdir()
    }


def await_save(folder: pathlib.Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + TIMEOUT_SEC
    while not any(folder.glob("checkpoints/*.unfinished")):
        assert process.poll() is None and time.monotonic() < end, "no checkpoint was begun"
        time.sleep(0.001)


def in_first_epoch(folder: pathlib.Path) -> bool:
    return not [path for path in (folder / "checkpoints").glob("*") if path.name.isdigit()]


# A full disk.


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A disk of 1.5 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    arguments = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(arguments, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("free_kb", [0, pytest.param(64, marks=pytest.mark.slow)])
def test_a_full_disk_ends_in_one_line_and_the_older_checkpoint_restores(
    small_disk: pathlib.Path, tmp_path: pathlib.Path, cache: pathlib.Path, free_kb: int
):
    folder = small_disk / "run"
    done = finish(start(tiny(folder, 2), cache))
    assert done.returncode == 0, done.stderr
    free = shutil.disk_usage(small_disk).free
    filler = small_disk / "filler"
    filler.write_bytes(bytes(free - free_kb * 1024))
    before = saved_bits(folder)
    failed = finish(start(tiny(folder, NUM_EPOCHS), cache))
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    (line,) = failed.stderr.splitlines()
    assert re.match(r"error: .*\((n|N)o space left on (the disk|device)\)", line), line
    filler.unlink()
    resumed = saved_bits(folder)
    assert resumed.keys() == before.keys()
    steps_of_two, steps = (int.from_bytes(bits[".step"], "little") for bits in (before, resumed))
    num_epochs = 2 * steps // steps_of_two + 10  # A small checkpoint still fits some times.
    again = finish(start(tiny(folder, num_epochs), cache))
    assert again.returncode == 0, again.stderr
    whole = finish(start(tiny(tmp_path / "whole", num_epochs), cache))
    assert whole.returncode == 0, whole.stderr
    assert saved_bits(folder) == saved_bits(tmp_path / "whole")


# The same again, on other cores and on other devices.


def test_the_same_seed_gives_the_same_bits_and_one_core_the_same_within_the_tolerance(
    tmp_path: pathlib.Path, cache: pathlib.Path
):
    for name in ("first", "again"):
        done = finish(start(tiny(tmp_path / name, 20), cache))
        assert done.returncode == 0, done.stderr
    assert saved_bits(tmp_path / "first") == saved_bits(tmp_path / "again")
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("first", "again")]
    assert logs[0] == logs[1]
    if not hasattr(os, "sched_setaffinity"):
        return
    # A process that may use one core alone, with programs of its own.
    alone = (
        "import os, runpy, sys; sys.path.insert(0, 'tests'); sys.argv = sys.argv[1:]; "
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = finish(start(["-c", alone, *tiny(tmp_path / "alone", 20)], tmp_path / "compiled"))
    assert done.returncode == 0, done.stderr
    assert_losses_agree(tmp_path / "first", tmp_path / "alone", 1e-3)


def assert_losses_agree(first: pathlib.Path, second: pathlib.Path, tolerance: float) -> None:
    ours, theirs = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in (first, second)
    )
    for line, other in zip(ours, theirs, strict=True):
        assert line.keys() == other.keys()
        for key, value in line.items():
            assert other[key] == pytest.approx(value, rel=tolerance), (key, line["step"])


@pytest.mark.slow
def test_an_accelerator_gives_the_same_as_the_cpu_within_the_tolerance(tmp_path: pathlib.Path, cache: pathlib.Path):
    found = finish(start(["-c", "import jax; print(jax.default_backend())"], cache, JAX_PLATFORMS=""))
    if found.stdout.split() == ["cpu"]:
        pytest.skip("needs a GPU or TPU and the jax that goes with it")
    for name, platforms in [("cpu", "cpu"), ("accelerator", "")]:
        done = finish(start(tiny(tmp_path / name, 20), cache, JAX_PLATFORMS=platforms))
        assert done.returncode == 0, done.stderr
    # Accelerators multiply float32 matrices with fewer bits by default.
    assert_losses_agree(tmp_path / "cpu", tmp_path / "accelerator", 2e-2)


DEVICES = """
import pathlib, sys
import jax, jax.numpy as jnp, numpy as np
from vae_jax.training import checkpointing

folder, what = pathlib.Path(sys.argv[1]), sys.argv[2]
values = {"kernel": np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32), "step": np.int32(7)}
if what == "save":
    if jax.device_count() > 1:
        mesh = jax.make_mesh((jax.device_count(),), ("d",))
        axes = {"kernel": jax.sharding.PartitionSpec("d"), "step": jax.sharding.PartitionSpec()}
        state = jax.device_put(values, {name: jax.sharding.NamedSharding(mesh, axes[name]) for name in values})
    else:
        state = jax.device_put(values)
    checkpointing.save(folder, 7, state, keep=1)
else:
    state, step = checkpointing.restore(folder, jax.eval_shape(lambda: values))
    assert step == 7 and all(np.array_equal(state[name], values[name]) for name in values)
    assert all(leaf.devices() == set(jax.devices()) for leaf in state.values())
print(jax.device_count())
"""


@pytest.mark.parametrize(("saving", "restoring"), [(1, 8), (8, 1)])
def test_a_checkpoint_goes_from_one_device_to_eight_and_back(
    tmp_path: pathlib.Path, cache: pathlib.Path, saving: int, restoring: int
):
    for what, count in [("save", saving), ("restore", restoring)]:
        flags = f"--xla_force_host_platform_device_count={count}"
        done = finish(start(["-c", DEVICES, tmp_path / "checkpoints", what], cache, XLA_FLAGS=flags))
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(count)]
