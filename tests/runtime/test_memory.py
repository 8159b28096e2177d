"""JAX reports its compilations under the name that we listen to."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest

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
