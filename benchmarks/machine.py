"""The machine that a benchmark ran on, in words."""

from __future__ import annotations

import pathlib
import platform

from vae_jax import reading


def describe() -> str:
    """Names the processor and the number of cores that this process may use."""
    name = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        lines = (line.split(":", 1) for line in info.read_text(encoding="utf-8").splitlines() if ":" in line)
        name = next((value.strip() for key, value in lines if key.strip() == "model name"), name)
    return f"{name}, {reading.num_cores()} cores"
