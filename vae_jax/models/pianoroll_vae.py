"""A VAE for piano rolls whose encoder infers: a few learned steps up the decoder's own likelihood, started from PCA.

What a window says is counted in three groups of features, each a number of successes out of a number of trials:
which (step, pitch) cells are played by any pitched part; which drum cells are; and, in every (beat, register, part),
how many of the played notes that part takes. Parts double each other so much that the last group is nearly constant
over a window: asking "which parts play this note" costs far fewer numbers than a roll for every part.

Decoder: logits = z W + b, binomial (exponential-family PCA; Collins, Dasgupta and Schapire 2001). Encoder: a linear
first guess, then K unrolled steps of gradient ascent on log p(x | z) + prior, each with a learned preconditioner and
momentum (iterative amortised inference; Marino, Yue and Mandt 2018). PCA reconstructs poorly because its encoder is
linear, not because its decoder is: so inference is where the work goes. The decoder's weights take part in inference
but learn from decoding alone, which costs a third of the time and reconstructs as well (docs/experiments.md).
"""

import dataclasses
import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.models.base import VAE, InputBatches, VAEConfig, VAEOutput, Variables
from vae_jax.models.losses import BinomialCounts, binomial_nll
from vae_jax.models.posterior import Posterior, reparameterize
from vae_jax.representations.pianoroll.decoding import RollLogits
from vae_jax.runtime import config
from vae_jax.runtime.errors import UserError

ABSENT_LOGIT = -30.0  # Of a cell that the model does not hold.
_PCA_SCALE = 10.0  # Turns PCA's values, about 0 to 1, into logits that are steep around its best threshold.
_PCA_THRESHOLD = 0.35
_SHARE_SCALE = 4.0  # The same for the parts' shares.
_START_STEP = 0.7  # Share of a Newton step that the unrolled steps start with.
_START_MOMENTUM = 0.3
_START_LOG_VAR = -5.0
_LOG_VAR_SCALE = 10.0  # The parameter is a tenth of the log variance: Adam's steps are too short for it otherwise.
_PCA_ROWS = 512


@dataclasses.dataclass(frozen=True)
class RollVAEConfig(VAEConfig):
    """The model's config section.

    Attributes:
      num_onset_cells, num_drum_cells: how many cells of the roll are modelled, those played most often in training.
      window_beats: beats in a window; the parts' shares are counted for each.
      prior_weight: weight of the prior in inference, in the place that the KL's weight has in the loss.
    """

    latent_dim: int = config.number(at_least=1, default=256)
    num_onset_cells: int = config.number(at_least=1, default=3584)
    num_drum_cells: int = config.number(at_least=1, default=512)
    window_beats: int = config.number(at_least=1, default=8)
    register_semitones: int = config.number(at_least=1, default=3)  # Pitches in a register.
    num_iterations: int = config.number(at_least=1, default=6)  # K, unrolled steps of inference.
    prior_weight: float = config.number(above=0, default=0.05)
    with_parts: bool = True  # Whether parts and drums are modelled; without, the latents hold the merged onsets alone.


class RollVAE(VAE):
    """The VAE; example_shape is (steps, pitches, parts), rolls of 0 and 1, the last part the drums."""

    example_shape: tuple[int, int, int]
    config: RollVAEConfig

    def __post_init__(self) -> None:
        if self.example_shape[0] % self.config.window_beats:
            raise UserError(
                f"config.model.window_beats must divide a window's {self.example_shape[0]} steps, "
                f"got {self.config.window_beats}"
            )
        super().__post_init__()

    def setup(self) -> None:
        """Declares the variables; `pca_start` sets most of them."""
        features, size, steps = self.num_features, self.latent_dim, self.config.num_iterations
        zeros, normal = nn.initializers.zeros_init(), nn.initializers.normal(0.01)
        self.features = self.variable("constants", "features", lambda: jnp.arange(features, dtype=jnp.int32))
        self.kernel = self.param("kernel", normal, (size, features))
        self.bias = self.param("bias", zeros, (features,))
        self.start = self.param("start", zeros, (size, size))
        self.preconditioner = self.param("preconditioner", zeros, (steps, size, size))
        self.momentum = self.param("momentum", nn.initializers.constant(_START_MOMENTUM), (steps,))
        self.scaled_log_var = self.param(
            "scaled_log_var", nn.initializers.constant(_START_LOG_VAR / _LOG_VAR_SCALE), (size,)
        )

    @property
    def num_shares(self) -> int:
        """Number of (beat, register, part) features."""
        _, pitches, num_parts = self.example_shape
        return self.config.window_beats * (-(-pitches // self.config.register_semitones)) * (num_parts - 1)

    @property
    def num_features(self) -> int:
        """M, number of modelled features."""
        onset_cells = min(self.config.num_onset_cells, self.example_shape[0] * self.example_shape[1])
        drum_cells = min(self.config.num_drum_cells, self.example_shape[0] * self.example_shape[1])
        return onset_cells + (drum_cells + self.num_shares if self.config.with_parts else 0)

    def count_features(self, x: jax.Array) -> BinomialCounts:
        """Counts every feature of rolls [B, T, P, C]: onset cells, drum cells, shares."""
        chex.assert_shape(x, (None, *self.example_shape))
        batch, steps, pitches, num_parts = x.shape
        is_pitched = jnp.arange(num_parts) < num_parts - 1
        played = jnp.max(jnp.where(is_pitched, x, jnp.zeros((), x.dtype)), axis=-1)  # A slice would copy the rolls.

        def count(rolls: jax.Array) -> jax.Array:
            """Sums over beats first: those rows lie together in memory."""
            beats = jnp.sum(
                rolls.reshape(batch, self.config.window_beats, steps // self.config.window_beats, -1),
                axis=2,
                dtype=jnp.float32,
            )
            beats = beats.reshape(batch, self.config.window_beats, pitches, -1)
            beats = jnp.pad(beats, ((0, 0), (0, 0), (0, -pitches % self.config.register_semitones), (0, 0)))
            shape = (*beats.shape[:2], -1, self.config.register_semitones, beats.shape[-1])
            return jnp.sum(beats.reshape(shape), axis=3)

        taken = count(x)[..., :-1]
        trials = jnp.broadcast_to(count(played), taken.shape)
        cells = jnp.concatenate([played.reshape(batch, -1), x[..., -1].reshape(batch, -1)], axis=1).astype(jnp.float32)
        return BinomialCounts(
            jnp.concatenate([cells, taken.reshape(batch, -1)], axis=1),
            jnp.concatenate([jnp.ones_like(cells), trials.reshape(batch, -1)], axis=1),
        )

    def counts(self, x: jax.Array) -> BinomialCounts:
        """Counts the modelled features of rolls [B, T, P, C]."""
        every = self.count_features(x)
        return BinomialCounts(every.successes[:, self.features.value], every.trials[:, self.features.value])

    def encode(self, x: jax.Array) -> Posterior:
        """Maps rolls [B, T, P, C] to a posterior over [B, Z]."""
        return self._infer(self.counts(x))

    def decode(self, z: jax.Array) -> RollLogits:
        """Maps latents [B, Z] to the logits of every cell."""
        steps, pitches, num_parts = self.example_shape
        num_cells = steps * pitches
        every = jnp.full((z.shape[0], 2 * num_cells + self.num_shares), ABSENT_LOGIT, z.dtype)
        every = every.at[:, self.features.value].set(self.feature_logits(z))
        shares = every[:, 2 * num_cells :].reshape(z.shape[0], self.config.window_beats, -1, num_parts - 1)
        shares = jnp.repeat(shares, steps // self.config.window_beats, axis=1)
        shares = jnp.repeat(shares, self.config.register_semitones, axis=2)[:, :, :pitches]
        cells = every[:, : 2 * num_cells].reshape(-1, 2, steps, pitches)
        return RollLogits(cells[:, 0], cells[:, 1], shares)

    def __call__(self, x: jax.Array, key: jax.Array) -> VAEOutput:
        """Encodes, samples one latent an example (the key is consumed), decodes and compares."""
        counts = self.counts(x)
        posterior = self._infer(counts)
        return VAEOutput(binomial_nll(self.feature_logits(reparameterize(key, posterior)), counts), posterior)

    def init_from_data(self, variables: Variables, inputs: InputBatches, seed: int) -> Variables:
        """Starts from PCA of the training rolls; see `pca_start`."""
        return pca_start(self, variables, inputs, seed)

    def feature_logits(self, z: jax.Array) -> jax.Array:
        """Maps latents [B, Z] to the logits of the modelled features, [B, M]."""
        chex.assert_shape(z, (None, self.latent_dim))
        return z @ self.kernel + self.bias

    def _infer(self, counts: BinomialCounts) -> Posterior:
        kernel, bias = jax.lax.stop_gradient((self.kernel, self.bias))
        z = (counts.successes - counts.trials * jax.nn.sigmoid(bias)) @ kernel.T @ self.start
        step = jnp.zeros_like(z)
        for n in range(self.config.num_iterations):
            # The gradient of log p(x | z) + prior_weight * log p(z), written out: cheaper than asking for it.
            residual = counts.successes - counts.trials * jax.nn.sigmoid(z @ kernel + bias)
            gradient = residual @ kernel.T - self.config.prior_weight * z
            step = self.momentum[n] * step + gradient @ self.preconditioner[n]
            z = z + step
        return Posterior(z, jnp.broadcast_to(_LOG_VAR_SCALE * self.scaled_log_var, z.shape))


def pca_start(model: RollVAE, variables: Variables, inputs: InputBatches, seed: int) -> Variables:
    """Starts a model from PCA of the training rolls.

    Args:
      model: the model.
      variables: from `model.init`.
      inputs: training rolls in batches [B, T, P, C] of 0 and 1.
      seed: seed of the randomised PCA.

    Returns:
      The variables with the chosen features and the parameters that reproduce the PCA.
    """
    import sklearn.decomposition

    count = jax.jit(model.count_features)
    played = functools.reduce(np.add, (np.asarray(count(batch).successes).sum(axis=0) for batch in inputs()))
    features = _choose_features(model, played)
    chosen = [[np.asarray(kind)[:, features] for kind in count(batch)] for batch in inputs()]
    successes, trials = (np.concatenate(parts).astype(np.float32) for parts in zip(*chosen, strict=True))
    center = (successes.sum(axis=0) + 0.1) / (trials.sum(axis=0) + 1.0)
    rows = successes - trials * center
    size = model.latent_dim
    components, deviation = np.zeros((size, len(features)), np.float32), np.ones(size, np.float32)
    # A corpus of a few windows has fewer components than the model has latents; the rest start at zero.
    rank = min(size, len(rows) - 1, len(features))
    if rank > 0:
        pca = sklearn.decomposition.PCA(rank, svd_solver="randomized", random_state=seed).fit(rows)
        components[:rank] = pca.components_
        deviation[:rank] = np.sqrt(np.maximum(pca.explained_variance_, 1e-6))

    steps, pitches, _ = model.example_shape
    is_cell = features < 2 * steps * pitches
    kernel = components * deviation[:, None] * np.where(is_cell, _PCA_SCALE, _SHARE_SCALE)
    share = np.clip(center, 0.02, 0.98)
    bias = np.where(is_cell, _PCA_SCALE * (center - _PCA_THRESHOLD), np.log(share / (1 - share)))
    probs = 1 / (1 + np.exp(-((rows[:_PCA_ROWS] @ components.T / deviation) @ kernel + bias)))
    weight = (trials[:_PCA_ROWS] * probs * (1 - probs)).mean(axis=0)
    step = _START_STEP * np.linalg.inv((kernel * weight) @ kernel.T + model.config.prior_weight * np.eye(size))
    params = {
        "kernel": kernel,
        "bias": bias,
        "start": np.diag(1 / (_PCA_SCALE * deviation**2)),
        "preconditioner": np.tile(step, (model.config.num_iterations, 1, 1)),
    }
    started = {"params": variables["params"] | params, "constants": {"features": features}}
    return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), started, dict(variables))


def _choose_features(model: RollVAE, counts: np.ndarray) -> np.ndarray:
    """The cells played most often, and all shares; ascending."""
    steps, pitches, _ = model.example_shape
    num_cells = steps * pitches
    chosen = [np.argsort(-counts[:num_cells], kind="stable")[: model.config.num_onset_cells]]
    if model.config.with_parts:
        drums = np.argsort(-counts[num_cells : 2 * num_cells], kind="stable")[: model.config.num_drum_cells]
        chosen += [num_cells + drums, 2 * num_cells + np.arange(model.num_shares)]
    return np.sort(np.concatenate(chosen))
