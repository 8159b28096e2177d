"""The files of a run that its page is made from; each may be missing from a run that has not ended."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from vae_jax.runtime import files, npz
from vae_jax.runtime.files import Json
from vae_jax.training import logging, run_dir
from vae_jax.training.run_dir import RunFolder


@dataclasses.dataclass(frozen=True, eq=False)
class RunRecord:
    """The files of a run.

    Attributes:
      folder: their folder.
      config, description: `config.json` and `run.json`.
      ingest, metrics, timing: `ingest.json`, `metrics.json` and `timing.json`; empty where missing.
      log: the lines of `metrics.jsonl`.
      latents: "mean" [N, Z] and "piece" [N] of `latents.npz`; empty where missing.
    """

    folder: RunFolder
    config: Json
    description: Json
    ingest: Json
    metrics: Json
    timing: Json
    log: Sequence[Mapping[str, float]]
    latents: Mapping[str, np.ndarray]


def read_run(path: str | pathlib.Path) -> RunRecord:
    """Reads the files of a run's folder.

    Raises:
      UserError: where the folder holds no run, or a file of it is damaged.
    """
    folder, config, description = run_dir.load_run(str(path))
    ingest, metrics, timing = (
        files.read_json(one) if one.exists() else {} for one in (folder.ingest, folder.metrics, folder.timing)
    )
    latents = npz.read_npz(folder.latents, ("mean", "piece")) if folder.latents.exists() else {}
    return RunRecord(folder, config, description, ingest, metrics, timing, logging.read_log(folder), latents)
