"""Latents of a piece in a file: the posterior, and what decoding takes from the original, without pickle."""

from __future__ import annotations

import io
import json
import pathlib
import zipfile
from typing import Any

import numpy as np

from vae_jax.models import latents
from vae_jax.models.latents import PRIOR, LatentDensity
from vae_jax.models.posterior import Posterior
from vae_jax.representations.base import AnyRepresentation
from vae_jax.runtime import files
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.json_dataclass import from_json, to_json


def save(path: pathlib.Path, posterior: Posterior, context: Any, run_id: str) -> None:
    """Writes "mean" and "log_var", float32 [W, Z], with the context as JSON and the id of the run that encoded them."""
    text = json.dumps({"run_id": run_id, "context": to_json(context)})
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, mean=posterior.mean, log_var=posterior.log_var, json=np.frombuffer(text.encode(), np.uint8)
    )
    files.write_bytes(path, buffer.getvalue())


def load(path: str, representation: AnyRepresentation, latent_dim: int, run_id: str) -> tuple[np.ndarray, Any]:
    """Reads latents; returns the means [W, Z] and the context.

    Raises:
      UserError: where the file cannot be read, or comes from another run.
    """
    try:
        data = pathlib.Path(path).read_bytes()
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            mean = arrays["mean"]
            saved = json.loads(arrays["json"].tobytes())
        if saved["run_id"] != run_id:
            raise UserError(
                f"{path}: latents of another run ({saved['run_id']}, not {run_id}); give that run's --workdir"
            )
        if mean.ndim != 2 or mean.shape[1] != latent_dim or not np.all(np.isfinite(mean)):
            raise UserError(f"{path}: {mean.shape} latents where [windows, {latent_dim}] finite ones are needed")
        return mean, from_json(representation.context_type, saved["context"])
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a file of latents ({error})") from error


def load_density(kind: str, path: pathlib.Path, latent_dim: int) -> LatentDensity:
    """Returns the prior, or a Gaussian fitted to the posterior means of the training examples of a run.

    Raises:
      UserError: where the run has not been evaluated yet.
    """
    if kind == PRIOR:
        return latents.prior_density(latent_dim)
    if not path.exists():
        raise UserError(f"{path}: not there yet; let run.py finish, or use --density={PRIOR}")
    with np.load(path, allow_pickle=False) as arrays:
        return latents.fit_density(arrays["mean"][arrays["is_training"]])
