"""How commands start and end: outputs of any encoding, closed pipes, the home folder, a device that is not there."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Never

import jax
import pytest
from builders import tune_bytes
from command_line import REPOSITORY, assert_one_error, assert_success, call

from vae_jax.runtime import cli


def start(environment: dict[str, str], *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_every_name_survives_any_encoding(tmp_path: pathlib.Path):
    (tmp_path / "国歌.mid").write_bytes(tune_bytes(0))
    process = start({"PYTHONIOENCODING": "cp1252"}, "-m", "vae_jax.ingest", f"--path={tmp_path}")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert rb"\u56fd\u6b4c.mid" in out


def test_a_closed_pipe_is_quiet(tmp_path: pathlib.Path):
    """As `ingest | head` closes it."""
    (tmp_path / "tune.mid").write_bytes(tune_bytes(0))
    process = start({}, "-m", "vae_jax.ingest", f"--path={tmp_path}")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


def test_plots_need_no_backend_of_a_notebook():
    program = "from vae_jax.runtime import cli; cli.run(lambda: __import__('vae_jax.report.plots'))"
    process = start({"MPLBACKEND": "module://not_installed.backend_inline"}, "-c", program)
    assert process.communicate() == (b"", b"")
    assert process.returncode == 0


def test_the_home_folder_in_every_flag(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tune.mid").write_bytes(tune_bytes(0))
    assert_success(call("ingest", "--path=~/tune.mid", "--output=~/out/ingest.json"))
    assert (tmp_path / "out" / "ingest.json").is_file()
    assert_one_error(call("sample", "--workdir=~/run", "--output=~"), f"{tmp_path}/run: no run here")
    assert_one_error(call("run.py", "--config=~/none.py"), f"{tmp_path}/none.py")
    other = ["--config=configs/smoke.py", "--workdir=~/run"]
    assert_one_error(call("run.py", *other, "--config.data.path=~/songs"), f"{tmp_path}/songs: no such file")
    assert_one_error(call("ingest", "--path=~nobody.mid"), "~nobody.mid: no such file")
    assert not (REPOSITORY / "~").exists()


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable to initialize backend 'cuda'")])
def test_a_device_that_is_not_there(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """JAX raises these two for JAX_PLATFORMS=cuda without the plugin and without a GPU."""

    def fail() -> Never:
        raise error

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(sys, "argv", ["command"])
    monkeypatch.setattr(jax, "devices", fail)
    with pytest.raises(SystemExit) as ended:
        cli.run(fail)
    assert ended.value.code == 1
    assert (
        capsys.readouterr().err == "error: JAX finds no device of JAX_PLATFORMS=cuda; unset it, or install JAX for it\n"
    )


def test_another_error_shows_its_traceback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda: print(1 // 0))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", "--xla_gpu_autotune_level=0"),
        ("--xla_cpu_enable_fast_math=false", "--xla_cpu_enable_fast_math=false --xla_gpu_autotune_level=0"),
        ("--xla_gpu_autotune_level=4", "--xla_gpu_autotune_level=4"),
    ],
)
def test_xla_tries_no_ways_to_multiply_unless_it_is_asked_to(
    given: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("XLA_FLAGS", given)
    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(SystemExit):
        cli.run(lambda: print(os.environ["XLA_FLAGS"]))
    assert capsys.readouterr().out == f"{expected}\n"
