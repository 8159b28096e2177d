"""What a run's folder says of the run; each part may be missing from a run that has not ended."""

from __future__ import annotations

import dataclasses
import io
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.runtime import files
from vae_jax.runtime.errors import UserError
from vae_jax.training import logging, run_dir
from vae_jax.training.run_dir import RunFolder


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """A run's files, read.

    Attributes:
      folder: where they lie.
      config, description: `config.json` and `run.json`.
      ingest, metrics, timing: `ingest.json`, `metrics.json` and `timing.json`; empty where they are missing.
      log: the lines of `metrics.jsonl`.
      latents: the arrays of `latents.npz`; empty where it is missing.
    """

    folder: RunFolder
    config: Mapping[str, Any]
    description: Mapping[str, Any]
    ingest: Mapping[str, Any]
    metrics: Mapping[str, Any]
    timing: Mapping[str, Any]
    log: Sequence[Mapping[str, float]]
    latents: Mapping[str, np.ndarray]


def read_record(folder: RunFolder) -> Record:
    """Reads what a run has left so far.

    Raises:
      UserError: where the folder holds no run, or a file of it is damaged.
    """
    _, config, description = run_dir.load_run(str(folder.path))
    return Record(
        folder=folder,
        config=config,
        description=description,
        ingest=_json_if_there(folder.ingest),
        metrics=_json_if_there(folder.metrics),
        timing=_json_if_there(folder.timing),
        log=logging.read_log(folder),
        latents=_arrays_if_there(folder.latents),
    )


def _json_if_there(path: pathlib.Path) -> Mapping[str, Any]:
    return files.read_json(path) if path.exists() else {}


def _arrays_if_there(path: pathlib.Path) -> Mapping[str, np.ndarray]:
    if not path.exists():
        return {}
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in ("mean", "piece", "is_training")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged ({error}); start run.py again in this folder") from error
