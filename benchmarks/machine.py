"""The machine that a benchmark ran on, in words."""

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
