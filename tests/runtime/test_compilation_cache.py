"""The compilation cache: the same bits, no warning, and no cache where the user does not want it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import zlib

import pytest

from vae_jax.runtime import cache_dir, compilation_cache

REPOSITORY = pathlib.Path(__file__).parents[2]
OPTIONS = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
CODE = """
import warnings
warnings.simplefilter("error")
from vae_jax.runtime import compilation_cache
{before}
compilation_cache.enable()
import jax, jax.numpy as jnp
print(jax.config.jax_compilation_cache_dir)
print(jax.jit(lambda x: jnp.sin(x @ x).sum())(jnp.arange(9.0).reshape(3, 3)).item().hex())
"""


def start(cache: pathlib.Path | str, before: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in OPTIONS}
    environment |= {cache_dir.VARIABLE: str(cache), "PYTHONPATH": str(REPOSITORY), **variables}
    return subprocess.run(
        [sys.executable, "-c", CODE.format(before=before)], env=environment, capture_output=True, text=True, check=False
    )


def kept(cache: pathlib.Path) -> list[pathlib.Path]:
    return sorted(cache.rglob("*-cache"))


@pytest.mark.parametrize("before", ["", "import jax"])
def test_the_next_start_finds_its_programs_without_a_warning(tmp_path: pathlib.Path, before: str):
    first = start(tmp_path, before)
    entries = {path: path.stat().st_mtime_ns for path in kept(tmp_path)}
    assert entries
    following = start(tmp_path, before)
    assert (following.stdout, following.stderr) == (first.stdout, "")
    assert {path: path.stat().st_mtime_ns for path in kept(tmp_path)} == entries


@pytest.mark.slow
def test_a_run_from_kept_programs_has_the_same_bits(tmp_path: pathlib.Path):
    lines = []
    for name, cache in (("off", "off"), ("first", tmp_path / "cache"), ("next", tmp_path / "cache")):
        environment = {one: value for one, value in os.environ.items() if one not in OPTIONS}
        arguments = ["run.py", "--config=configs/smoke.py", f"--workdir={tmp_path / name}"]
        arguments += ["--config.train.num_epochs=2", "--config.data.num_synthetic=6", "--config.data.num_held_out=1"]
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env=environment | {cache_dir.VARIABLE: str(cache)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "cache" not in done.stderr
        lines.append((tmp_path / name / "metrics.jsonl").read_bytes())
    assert lines[0] == lines[1] == lines[2]
    assert kept(tmp_path / "cache")
    samples = [sorted((tmp_path / name / "samples").glob("*.mid")) for name in ("off", "first", "next")]
    assert samples[0]
    assert [[path.read_bytes() for path in some] for some in samples] == [[p.read_bytes() for p in samples[0]]] * 3


@pytest.mark.parametrize("length", [0, 20, -20])
def test_what_a_killed_process_has_written_is_replaced(tmp_path: pathlib.Path, length: int):
    first = start(tmp_path)
    (torn, *_) = kept(tmp_path)
    whole = torn.read_bytes()
    torn.write_bytes(whole[:length])
    following = start(tmp_path)
    assert (following.stdout, following.stderr) == (first.stdout, "")
    assert len(zlib.decompress(torn.read_bytes())) == len(zlib.decompress(whole))


@pytest.mark.parametrize(
    "variables", [{cache_dir.VARIABLE: "off"}, {"JAX_COMPILATION_CACHE_DIR": ""}, {"JAX_COMPILATION_CACHE_DIR": "own"}]
)
def test_the_users_own_settings_win(tmp_path: pathlib.Path, variables: dict[str, str]):
    if variables.get("JAX_COMPILATION_CACHE_DIR"):
        variables = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "own")}
    done = start(tmp_path / "cache", **variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] in (variables.get("JAX_COMPILATION_CACHE_DIR", "None"), "None")
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_made_is_ignored(tmp_path: pathlib.Path):
    (tmp_path / "file").write_bytes(b"")
    done = start(tmp_path / "file" / "cache")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_entries_used_longest_ago_are_deleted(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    for n in range(6):
        path = tmp_path / ("this", "other")[n % 2] / f"{n}-cache"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (1000 + n, 1000))
    monkeypatch.setattr(compilation_cache, "MAX_BYTES", 250)
    compilation_cache._delete_old_and_torn(tmp_path)
    assert [path.name for path in kept(tmp_path)] == ["5-cache", "4-cache"]


def test_each_kind_of_processor_has_a_folder(monkeypatch: pytest.MonkeyPatch):
    here = compilation_cache._processor()
    monkeypatch.setattr(compilation_cache.platform, "machine", lambda: "another")
    assert compilation_cache._processor() != here
