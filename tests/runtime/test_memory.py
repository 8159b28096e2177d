"""JAX reports its compilations under the name that we listen to; a command starts again with huge pages, once."""

from __future__ import annotations

import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Iterator

import jax
import pytest
from command_line import REPOSITORY

from vae_jax.runtime import memory


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Grows by one each time that memory is returned to the system."""
    calls: list[str] = []
    monkeypatch.setattr(memory, "_trim", lambda: calls.append("trim"))
    memory.trim_after_compiling()
    yield calls
    jax.monitoring.unregister_event_duration_listener(memory._trim_after)


def test_memory_is_returned_after_a_long_compilation_only(trims: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "_LONG_SEC", 600.0)  # On the busiest machine none is as long.
    jax.jit(lambda x: 2 * x + 1)(1.0)
    assert not trims
    monkeypatch.setattr(memory, "_LONG_SEC", 0.0)
    jax.jit(lambda x: 3 * x + 1)(1.0)
    assert trims


SCRIPT = """
import os, sys
from vae_jax.runtime import memory
print("started", flush=True)
memory.use_huge_pages()
print(os.getpid(), os.environ["GLIBC_TUNABLES"], sys.argv[1:])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's option")
@pytest.mark.parametrize(
    ("given", "starts", "expected"),
    [
        ("", 2, "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.check=0", 2, "glibc.malloc.check=0:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", 1, "glibc.malloc.hugetlb=0"),
    ],
)
def test_a_command_starts_again_with_huge_pages(tmp_path: pathlib.Path, given: str, starts: int, expected: str):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"GLIBC_TUNABLES": given, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, script, "--a b"], env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.communicate()[0] == "started\n" * starts + f"{process.pid} {expected} ['--a b']\n"


def test_another_program_goes_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "execve", None)
    monkeypatch.setattr(sys, "argv", ["run.py"])
    memory.use_huge_pages()
