"""The machine that a benchmark ran on, in words, and the memory of its processes."""

from __future__ import annotations

import contextlib
import importlib.metadata
import pathlib
import platform
from collections.abc import Sequence

from vae_jax.data import parallel


def describe(packages: Sequence[str] = ()) -> str:
    """Names the processor, the number of cores that this process may use, the version of Python and those of the
    packages that are installed."""
    name = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        lines = (line.split(":", 1) for line in info.read_text(encoding="utf-8").splitlines() if ":" in line)
        name = next((value.strip() for key, value in lines if key.strip() == "model name"), name)
    versions = [f"Python {platform.python_version()}"]
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    return f"{name}, {parallel.num_cores()} cores, {platform.system()}; {', '.join(versions)}"


def memory_mb(pid: int, *, peak: bool = False) -> float:
    """Resident memory of a process, now or at most so far, in MB; 0 where it has ended."""
    name = "VmHWM:" if peak else "VmRSS:"
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0
