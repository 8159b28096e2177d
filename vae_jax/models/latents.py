"""Gaussians over latents, samples from them, and interpolation between pieces."""

import dataclasses

import jax
import numpy as np

from vae_jax.models.inference import Inference
from vae_jax.music.score import Score

PRIOR, POSTERIOR = "prior", "posterior"
_SAMPLED_EXAMPLES = 64  # Of a sequence: sixteen bars of 4/4.


@dataclasses.dataclass(frozen=True, eq=False)
class LatentDensity:
    """A Gaussian over latents."""

    mean: np.ndarray  # [Z].
    factor: np.ndarray  # [Z, Z], a lower triangle L with covariance L L^T.

    def sample(self, noise: np.ndarray, temperature: float) -> np.ndarray:
        """Turns standard normal noise [..., Z] into latents [..., Z]; temperature scales the standard deviations."""
        return self.mean + temperature * noise @ self.factor.T


def fit_density(means: np.ndarray) -> LatentDensity:
    """Fits a Gaussian to posterior means [N, Z], its covariance shrunk by the rule of Ledoit and Wolf (2004)."""
    import sklearn.covariance

    if len(means) == 1:  # Scikit-learn warns of what is meant.
        means = np.repeat(means, 2, axis=0)
    fitted = sklearn.covariance.LedoitWolf().fit(means)
    jitter = 1e-6 * np.eye(means.shape[1])  # Keeps the covariance of a collapsed posterior positive definite.
    return LatentDensity(fitted.location_, np.linalg.cholesky(fitted.covariance_ + jitter))


def slerp(start: np.ndarray, end: np.ndarray, fraction: float) -> np.ndarray:
    """Spherical interpolation along the last axis (Shoemake 1985); linear between vectors of one direction.

    Args:
      start, end: [..., Z].
      fraction: 0 gives `start`, 1 gives `end`.
    """
    lengths = np.linalg.norm(start, axis=-1, keepdims=True) * np.linalg.norm(end, axis=-1, keepdims=True)
    cosine = np.clip(np.sum(start * end, axis=-1, keepdims=True) / np.maximum(lengths, 1e-12), -1, 1)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    spherical = (sine > 1e-6) & (lengths > 1e-12)
    safe = np.where(spherical, sine, 1.0)
    start_weight = np.where(spherical, np.sin((1 - fraction) * angle) / safe, 1 - fraction)
    end_weight = np.where(spherical, np.sin(fraction * angle) / safe, fraction)
    return start_weight * start + end_weight * end


def sample_scores(
    inference: Inference, density: LatentDensity | None, num: int, seed: int, temperature: float = 1.0
) -> list[Score]:
    """Samples latents from the prior, or from a density, and decodes them: pieces of one example, or of 64 where the
    examples of a piece are a sequence."""
    length = _SAMPLED_EXAMPLES if inference.is_sequence else 1
    if density is None:
        return inference.decode_scores(list(inference.sample_prior(seed, num, length, temperature)))
    noise = np.asarray(jax.random.normal(jax.random.key(seed), (num, length, inference.latent_dim)))
    return inference.decode_scores(list(density.sample(noise, temperature)))


def interpolate(inference: Inference, start: Score, end: Score, num_steps: int, num_examples: int) -> list[Score]:
    """Decodes points between two pieces, ends included: example n of one is interpolated with example n of the other,
    and what the latents do not hold, such as the tempo, lies between those of the ends.

    Args:
      inference: the trained model.
      start, end: the pieces.
      num_steps: number of scores to return, at least 2.
      num_examples: examples taken of each piece from its first full bar on, at most as many as the shorter one has.
    """
    representation, means, contexts = inference.representation, [], []
    for score in (start, end):
        encoded = representation.encode(score)
        contexts.append(encoded.context)
        first = representation.first_full_example(encoded.context)
        means.append(inference.encode(encoded.examples).mean[first:][:num_examples])
    count = min(map(len, means))
    fractions = np.linspace(0, 1, num_steps)
    latents = [slerp(means[0][:count], means[1][:count], fraction) for fraction in fractions]
    between = [
        representation.context_between(contexts[0], contexts[1], float(fraction), count) for fraction in fractions
    ]
    return inference.decode_scores(latents, between)
