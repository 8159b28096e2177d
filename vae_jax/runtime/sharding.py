"""The devices of a run: one mesh over all of them, on which batches are shared out and everything else lies whole.

A run may have several processes (`jax.distributed`), each with devices of its own. All of them call what is here in the
same order. The first process alone writes files.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")

_AXIS = "batch"


@functools.cache
def mesh() -> Mesh:
    """The mesh of all devices of all processes, those of one process side by side."""
    ordered = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(ordered), (_AXIS,), axis_types=(AxisType.Auto,))


def everywhere() -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh(), PartitionSpec())


def divides(num_rows: int) -> bool:
    """Whether a batch of so many rows can be shared out evenly; one that cannot lies whole on every device."""
    return num_rows % jax.device_count() == 0


def my_rows(num_rows: int) -> slice:
    """Which rows of a batch this process has to bring."""
    if not divides(num_rows):
        return slice(0, num_rows)
    share = num_rows // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def place_batch(rows: Any, num_rows: int) -> Any:
    """Shares out a batch along the first axis of its arrays.

    Args:
      rows: a tree of arrays, the rows that `my_rows` names.
      num_rows: B, rows in the batch of all processes.

    Returns:
      Arrays [B, ...] over all devices.
    """
    sharding = NamedSharding(mesh(), PartitionSpec(_AXIS) if divides(num_rows) else PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(rows, sharding)

    def place(row: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(sharding, np.asarray(row), (num_rows, *row.shape[1:]))

    return jax.tree.map(place, rows)


def place_everywhere(tree: Any) -> Any:
    """Puts arrays that all processes hold alike whole on every device."""
    if jax.process_count() == 1:
        return jax.device_put(tree, everywhere())

    def place(leaf: Any) -> jax.Array:
        values = np.asarray(leaf)
        return jax.make_array_from_callback(values.shape, everywhere(), lambda index: values[index])

    return jax.tree.map(place, tree)


def from_first(tree: Tree) -> Tree:
    """Gives every process the arrays of the first one, so that no rounding of its own machine sets it apart."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(tree)


def local(tree: Tree) -> Tree:
    """Returns arrays that lie whole on every device as arrays of this process's first device alone."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf, tree)


def highest(value: int) -> int | jax.Array:
    """Returns the highest of all processes' values; with several it is not waited for, only begun."""
    if jax.process_count() == 1:
        return value
    mine = np.full(jax.local_device_count(), value, dtype=np.int32)
    return _jitted_max()(place_batch(mine, jax.device_count()))


def is_first() -> bool:
    """Whether this process writes the files."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Waits until every process has come so far."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def describe() -> Mapping[str, Any]:
    """Describes the devices for `run.json`."""
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "count": jax.device_count(),
        "processes": jax.process_count(),
    }


@functools.cache
def _jitted_max() -> Any:
    return jax.jit(jnp.max, out_shardings=everywhere())
