"""Latents in files: those of one piece, with what decoding takes from the original, and those of a corpus."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vae_jax.models import latents
from vae_jax.models.posterior import Posterior
from vae_jax.representations.base import AnyRepresentation
from vae_jax.runtime import npz
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.json_dataclass import from_json, to_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def save(path: pathlib.Path, posterior: Posterior, context: DataclassInstance, run_id: str) -> None:
    """Writes "mean" and "log_var", float32 [W, Z], with the context and the id of the encoding run as JSON."""
    text = json.dumps({"run_id": run_id, "context": to_json(context)})
    npz.write_npz(path, **posterior._asdict(), json=np.frombuffer(text.encode(), np.uint8))


def load(path: str, representation: AnyRepresentation, latent_dim: int, run_id: str) -> tuple[np.ndarray, object]:
    """Reads latents; returns the means [W, Z] and the context. Raises UserError where the file cannot be read, or comes
    from another run."""
    arrays = npz.read_npz(pathlib.Path(path), ("mean", "json"))
    mean = arrays["mean"]
    try:
        saved = json.loads(arrays["json"].tobytes())
        if saved["run_id"] != run_id:
            raise UserError(f"{path}: latents of another run ({saved['run_id']}, not {run_id}); give its --workdir")
        if mean.dtype.kind != "f" or mean.shape[1:] != (latent_dim,) or not np.all(np.isfinite(mean)):
            raise UserError(f"{path}: {mean.shape} latents where [windows, {latent_dim}] finite ones are needed")
        context = from_json(representation.context_type, saved["context"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: not a file of latents ({error})") from error
    return mean, context


def save_corpus(path: pathlib.Path, posteriors: Sequence[Posterior], training: Sequence[int]) -> None:
    """Writes the posteriors of pieces, some of them training pieces, as one of N examples.

    The file holds "mean" and "log_var" [N, Z], the index of the "piece" [N] of each and whether it "is_training" [N].
    """
    piece = np.repeat(np.arange(len(posteriors)), [len(posterior.mean) for posterior in posteriors])
    mean, log_var = (np.concatenate(rows) for rows in zip(*posteriors, strict=True))
    npz.write_npz(path, mean=mean, log_var=log_var, piece=piece, is_training=np.isin(piece, training))


def load_density(kind: str, path: pathlib.Path) -> latents.LatentDensity | None:
    """Returns None for the prior of the model, or a Gaussian fitted to the posterior means of the training examples in
    a run's `latents.npz`. Raises UserError where the file is missing or damaged."""
    if kind == latents.PRIOR:
        return None
    if not path.exists():
        raise UserError(f"{path}: not there yet; let run.py finish, or use --density={latents.PRIOR}")
    arrays = npz.read_npz(path, ("mean", "is_training"))
    return latents.fit_density(arrays["mean"][arrays["is_training"]])
