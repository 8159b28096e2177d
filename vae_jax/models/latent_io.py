"""Latents of a piece in a file: the posterior, and what decoding takes from the original, without pickle."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

from vae_jax.models import latents
from vae_jax.models.latents import PRIOR, LatentDensity
from vae_jax.models.posterior import Posterior
from vae_jax.representations.base import AnyRepresentation
from vae_jax.runtime import npz
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.json_dataclass import from_json, to_json


def save(path: pathlib.Path, posterior: Posterior, context: Any, run_id: str) -> None:
    """Writes "mean" and "log_var", float32 [W, Z], with the context as JSON and the id of the run that encoded them."""
    text = json.dumps({"run_id": run_id, "context": to_json(context)})
    npz.write_npz(path, **posterior._asdict(), json=np.frombuffer(text.encode(), np.uint8))


def load(path: str, representation: AnyRepresentation, latent_dim: int, run_id: str) -> tuple[np.ndarray, Any]:
    """Reads latents; returns the means [W, Z] and the context.

    Raises:
      UserError: where the file cannot be read, or comes from another run.
    """
    saved = npz.read_npz(pathlib.Path(path), ("mean", "json"))
    mean = saved["mean"]
    try:
        described = json.loads(saved["json"].tobytes())
        if described["run_id"] != run_id:
            raise UserError(
                f"{path}: latents of another run ({described['run_id']}, not {run_id}); give that run's --workdir"
            )
        context = from_json(representation.context_type, described["context"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: not a file of latents ({error})") from error
    if mean.ndim != 2 or mean.shape[1] != latent_dim or not np.all(np.isfinite(mean)):
        raise UserError(f"{path}: {mean.shape} latents where [windows, {latent_dim}] finite ones are needed")
    return mean, context


def load_density(kind: str, path: pathlib.Path, latent_dim: int) -> LatentDensity:
    """Returns the prior, or a Gaussian fitted to the posterior means of the training examples of a run.

    Raises:
      UserError: where the run has not been evaluated yet.
    """
    if kind == PRIOR:
        return latents.prior_density(latent_dim)
    if not path.exists():
        raise UserError(f"{path}: not there yet; let run.py finish, or use --density={PRIOR}")
    saved = npz.read_npz(path, ("mean", "is_training"))
    return latents.fit_density(saved["mean"][saved["is_training"]])
