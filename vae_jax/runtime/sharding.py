"""Data parallelism: one mesh over all devices, batches sharded over it, everything else replicated.

A run may have several processes (`jax.distributed`), each with devices of its own. All processes must call these
functions in the same order. Only the main process writes files.
"""

import functools
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")

_AXIS = "batch"


@functools.cache
def mesh() -> Mesh:
    """The mesh of all devices of all processes; the devices of a process are adjacent."""
    ordered = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(ordered), (_AXIS,), axis_types=(AxisType.Auto,))


def replicated() -> NamedSharding:
    """The sharding of an array that is whole on every device."""
    return NamedSharding(mesh(), PartitionSpec())


def divides(num_rows: int) -> bool:
    """Whether a batch of so many rows can be sharded evenly; any other batch is replicated."""
    return num_rows % jax.device_count() == 0


def process_rows(num_rows: int) -> slice:
    """The rows of a batch that this process must pass to `shard_batch`."""
    if not divides(num_rows):
        return slice(0, num_rows)
    share = num_rows // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def shard_batch(rows: Tree, num_rows: int) -> Tree:
    """Shards a batch along the first axis of its arrays.

    Args:
      rows: a tree of arrays, the rows given by `process_rows`.
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


def replicate(tree: Tree) -> Tree:
    """Puts arrays, the same in all processes, whole on every device."""
    if jax.process_count() == 1:
        return jax.device_put(tree, replicated())

    def place(leaf: jax.Array | np.ndarray) -> jax.Array:
        values = np.asarray(leaf)
        return jax.make_array_from_callback(values.shape, replicated(), lambda index: values[index])

    return jax.tree.map(place, tree)


def broadcast(tree: Tree) -> Tree:
    """Returns the arrays of the main process in every process, so that no rounding of another machine differs."""
    return multihost_utils.broadcast_one_to_all(tree) if jax.process_count() > 1 else tree


def local(tree: Tree) -> Tree:
    """Returns replicated arrays as arrays on this process's first device only."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf, tree)


def all_reduce_max(value: int) -> int | jax.Array:
    """Returns the maximum of all processes' values; with several processes the result is computed asynchronously."""
    if jax.process_count() == 1:
        return value
    mine = np.full(jax.local_device_count(), value, dtype=np.int32)
    return _jitted_max()(shard_batch(mine, jax.device_count()))


@functools.cache
def _jitted_max() -> Callable[[np.ndarray], jax.Array]:
    return jax.jit(jnp.max, out_shardings=replicated())


def is_main_process() -> bool:
    """Whether this process writes the files."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until every process has reached the barrier of this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def describe() -> dict[str, str | int]:
    """Describes the devices for `run.json`."""
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "count": jax.device_count(),
        "processes": jax.process_count(),
    }
