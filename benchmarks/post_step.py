"""One training step of the post's model, ours against Keras 3 and PyTorch: a table of ratios from one run.

python -m benchmarks.post_step [--path=NationalAnthems.zip] [--batch_sizes=10,64] [--num_rounds=7] [--only=PyTorch]

The model is that of configs/post.py (69,282,557 parameters), float32, with RMSprop; without a path, on the synthetic
corpus. Every contestant has a process of its own; they start from the same parameters, and the run stops if their
numbers of parameters differ or the losses of the first steps do. Prints the table of `comparison` for each batch size.

Ours is the program's own step: it also picks the batch from the examples on the device and returns the gradient's norm.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from absl import flags
from ml_collections import config_flags

from benchmarks import comparison, interleaved, machine
from benchmarks.comparison import OURS, PYTORCH
from benchmarks.contestants import Start
from benchmarks.interleaved import Contestant
from benchmarks.post_contestants import step_flops
from vae_jax.runtime import cli
from vae_jax.runtime.errors import UserError

comparison.define_flags()
config_flags.DEFINE_config_file("config", "configs/post.py", "The post's config.")
_BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["10", "64"], "Examples in a step.")
_NUM_CHECKED = 3
_MODULE = "benchmarks.post_contestants"
_PACKAGES = ("jax", "flax", "torch", "keras", "tensorflow-cpu", "tensorflow", "numpy")
# Of the losses, relative. Keras's optimiser has its epsilon inside the root: its second step is a little shorter.
_TOLERANCES = {
    PYTORCH: 1e-3,
    "torch.compile": 1e-3,
    "Keras 3 on TensorFlow": 0.02,
    "Keras 3 on PyTorch": 0.02,
}


def main() -> None:
    """Prints the tables."""
    try:
        batch_sizes = [int(text) for text in _BATCH_SIZES.value]
    except ValueError as error:
        raise UserError(f"--batch_sizes must be numbers, got {','.join(_BATCH_SIZES.value)}") from error
    print(machine.describe(_PACKAGES))
    config: dict[str, Any] = cli.config_value().to_dict()
    start = comparison.prepare(config).start
    for batch_size in batch_sizes:
        sized = dataclasses.replace(start, config=config | {"train": config["train"] | {"batch_size": batch_size}})
        with interleaved.workers(comparison.choose(_contestants(sized))) as workers:
            comparison.check_equal(workers, sized, _NUM_CHECKED, _TOLERANCES)
            comparison.print_step_table(workers, sized, step_flops(sized))


def _contestants(start: Start) -> list[Contestant]:
    tensorflow = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
    return [
        Contestant(OURS, "benchmarks.contestants:Ours", {"start": start}),
        Contestant(PYTORCH, f"{_MODULE}:Torch", {"start": start, "compiled": False}),
        Contestant("torch.compile", f"{_MODULE}:Torch", {"start": start, "compiled": True}),
        Contestant("Keras 3 on TensorFlow", f"{_MODULE}:Keras", {"start": start}, tensorflow),
        Contestant("Keras 3 on PyTorch", f"{_MODULE}:Keras", {"start": start}, {"KERAS_BACKEND": "torch"}),
    ]


if __name__ == "__main__":
    cli.run(main)
