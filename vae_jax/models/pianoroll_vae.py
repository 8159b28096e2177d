"""A convolutional VAE for piano rolls of any length, whose encoder is a few learned steps up the decoder's likelihood.

A piece is a sequence of beats x_1 ... x_T; each has a latent vector z_t of Z numbers.

Prior: p(z_t | z_<t) is a Gaussian whose mean and variance a network with one hidden layer gives from the latents of
1, 2, 3, 4, 6, 8, 12 and 16 beats before.

Decoder: logits_t = b + sum_k W_k z_(t+k), k = -h..h, a transposed convolution over beats; binomial (exponential-family
PCA; Collins, Dasgupta and Schapire 2001). Encoder: a linear first guess, then N unrolled steps of gradient ascent on
log p(x | z) + w log p(z), each with a learned momentum and a learned preconditioner, a convolution P over beats
(iterative amortised inference; Marino, Yue and Mandt 2018):

    g = d/dz [log p(x | z) + w log p(z)],    v <- s tanh((m v + P * g) / s),    z <- z + v

The posterior is a Gaussian around the last z with one learned variance for each latent.

What a beat says is counted in four groups of features, each a number of successes out of a number of trials: which
(step, pitch) cells any pitched part plays; which drum cells are played; in every (register, part), how many of the
notes that part takes; in every (half of the beat, register, part) and for each class of durations, how many of the
notes that outlast the class before outlast it (a discrete hazard). The last two are nearly constant within a beat and a
register, which costs few numbers. The decoder's weights take part in inference but learn from decoding alone, which
costs a third of the time and reconstructs as well (docs/experiments.md).
"""

import dataclasses
import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.models import pianoroll_start
from vae_jax.models.base import VAE, InputBatches, VAEConfig, VAEOutput, Variables
from vae_jax.models.losses import BinomialCounts, binomial_nll, gaussian_divergence_nats
from vae_jax.models.pianoroll_start import ABSENT_LOGIT
from vae_jax.models.posterior import Posterior, reparameterize
from vae_jax.representations.pianoroll.decoding import RollLogits
from vae_jax.representations.pianoroll.rasterize import DURATION_EDGES, DURATION_REGISTER, DURATION_SPANS, Rolls
from vae_jax.runtime import config

_Pair = tuple[jax.Array, jax.Array]
_START_MOMENTUM = 0.3
_LONGEST_STEP = 0.7  # Of a latent in one step of inference, which would diverge where the decoder is steep.
_START_LOG_VAR = -4.0
_LOG_VAR_SCALE = 10.0  # The parameter is a tenth of the log variance: Adam's steps are too short for it otherwise.
_LAGS = (1, 2, 3, 4, 6, 8, 12, 16)  # Beats before, whose latents the prior of a beat depends on.


@dataclasses.dataclass(frozen=True)
class RollVAEConfig(VAEConfig):
    """The model's config section.

    Attributes:
      latent_dim: Z, latents of a beat.
      num_onset_cells, num_drum_cells, num_durations: how many features of a beat are modelled, the most frequent.
      kernel_beats: beats on which a beat's notes depend, odd.
      preconditioner_beats: width of the convolutions of the encoder, odd.
      prior_hidden: units of the prior's hidden layer.
      prior_weight: w, weight of the prior in inference, in the place that the KL's weight has in the loss.
    """

    latent_dim: int = config.number(at_least=1, default=32)
    num_onset_cells: int = config.number(at_least=1, default=600)
    num_drum_cells: int = config.number(at_least=1, default=128)
    num_durations: int = config.number(at_least=1, default=700)
    register_semitones: int = config.number(at_least=1, default=3)  # Pitches in a register of the shares.
    kernel_beats: int = config.number(at_least=1, default=5)
    preconditioner_beats: int = config.number(at_least=1, default=3)
    num_iterations: int = config.number(at_least=1, default=8)  # N, unrolled steps of inference.
    prior_weight: float = config.number(above=0, default=0.05)
    prior_hidden: int = config.number(at_least=1, default=128)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("kernel_beats", "preconditioner_beats"):
            if getattr(self, name) % 2 == 0:
                raise config.FieldError(f"{name} must be odd, got {getattr(self, name)}")


class RollVAE(VAE):
    """The VAE; example_shape is (steps, pitches, parts) of a beat, the last part the drums; inputs are `Rolls`."""

    example_shape: tuple[int, int, int]
    config: RollVAEConfig

    def setup(self) -> None:
        """Declares the variables; `from_pca` sets most of them."""
        size, features, fields = self.latent_dim, self.num_features, self.config
        zeros, normal = nn.initializers.zeros_init(), nn.initializers.normal(0.01)
        self.features = self.variable("constants", "features", lambda: jnp.arange(features, dtype=jnp.int32))
        self.absent = self.variable("constants", "absent", lambda: jnp.full(sum(self.group_sizes), ABSENT_LOGIT))
        self.kernel = self.param("kernel", normal, (fields.kernel_beats * size, features))
        self.bias = self.param("bias", zeros, (features,))
        width = fields.preconditioner_beats * size
        self.start = self.param("start", zeros, (width, size))
        self.preconditioner = self.param("preconditioner", zeros, (fields.num_iterations, width, size))
        self.momentum = self.param("momentum", nn.initializers.constant(_START_MOMENTUM), (fields.num_iterations,))
        log_var = nn.initializers.constant(_START_LOG_VAR / _LOG_VAR_SCALE)
        self.scaled_log_var = self.param("scaled_log_var", log_var, (size,))
        self.prior_hidden = nn.Dense(fields.prior_hidden)
        self.prior_out, self.prior_skip = (
            nn.Dense(2 * size, kernel_init=zeros, use_bias=bias) for bias in (True, False)
        )

    @property
    def context(self) -> int:
        """Beats on either side that an encoded beat depends on."""
        decoder, encoder = self.config.kernel_beats // 2, self.config.preconditioner_beats // 2
        return max(
            (self.config.num_iterations + 1) * (decoder + encoder) + self.config.num_iterations * decoder, *_LAGS
        )

    @property
    def group_sizes(self) -> tuple[int, int, int, int]:
        """Features of a beat in each group: onset cells, drum cells, shares, durations."""
        steps, pitches, num_parts = self.example_shape
        registers = (-(-pitches // width) for width in (self.config.register_semitones, DURATION_REGISTER))
        num_shares, num_spans = (next(registers) * (num_parts - 1) for _ in range(2))
        return steps * pitches, steps * pitches, num_shares, DURATION_SPANS * num_spans * len(DURATION_EDGES)

    @property
    def num_modelled(self) -> tuple[int, int, int, int]:
        """How many features of each group are modelled; of shares all."""
        onsets, drums, shares, durations = self.group_sizes
        fields = self.config
        return (
            min(fields.num_onset_cells, onsets),
            min(fields.num_drum_cells, drums),
            shares,
            min(fields.num_durations, durations),
        )

    @property
    def num_features(self) -> int:
        """M, number of modelled features of a beat."""
        return sum(self.num_modelled)

    def count_features(self, x: Rolls) -> BinomialCounts:
        """Counts every feature of every beat, [B, T, features]; nothing outside of the piece."""
        batch, beats, _, pitches, num_parts = x.onsets.shape
        chex.assert_shape(x.onsets, (None, None, *self.example_shape))
        is_pitched = jnp.arange(num_parts) < num_parts - 1
        played = jnp.max(jnp.where(is_pitched, x.onsets, jnp.uint8(0)), axis=-1)  # A slice would copy the rolls.

        def by_register(rolls: jax.Array) -> jax.Array:
            """Sums [B, T, S, P, ...] over steps and registers, float32 [B, T, registers, ...]."""
            beat = jnp.sum(rolls, axis=2, dtype=jnp.float32)
            width = self.config.register_semitones
            beat = jnp.pad(beat, ((0, 0), (0, 0), (0, -pitches % width), *((0, 0),) * (beat.ndim - 3)))
            return jnp.sum(beat.reshape(batch, beats, -1, width, *beat.shape[3:]), axis=3)

        taken = by_register(x.onsets)[..., :-1]
        available = jnp.broadcast_to(by_register(played)[..., None], taken.shape)
        outlasting = x.outlasting.astype(jnp.float32)
        cells = jnp.concatenate([played, x.onsets[..., -1]], axis=2).astype(jnp.float32)
        successes, trials = (cells, taken, outlasting[..., 1:]), (jnp.ones_like(cells), available, outlasting[..., :-1])

        def join(groups: tuple[jax.Array, ...]) -> jax.Array:
            return jnp.concatenate([group.reshape(batch, beats, -1) for group in groups], axis=-1)

        return BinomialCounts(join(successes), join(trials) * x.inside[..., None])

    def counts(self, x: Rolls) -> BinomialCounts:
        """Counts the modelled features, [B, T, M]."""
        every = self.count_features(x)
        return BinomialCounts(every.successes[..., self.features.value], every.trials[..., self.features.value])

    def encode(self, x: Rolls) -> Posterior:
        """Maps rolls of T beats to a posterior over [B, T, Z]; the prior for beats outside of the piece."""
        return self._infer(self.counts(x), x.inside)

    def decode(self, z: jax.Array) -> RollLogits:
        """Maps latents [B, T, Z] to the logits of every feature of every beat, [B, T, ...]."""
        steps, pitches, num_parts = self.example_shape
        every = jnp.broadcast_to(self.absent.value, (*z.shape[:2], len(self.absent.value)))
        every = every.at[..., self.features.value].set(self.feature_logits(z))
        onset, drum, share, outlasts = jnp.split(every, np.cumsum(self.group_sizes[:-1]), axis=-1)
        return RollLogits(
            onset.reshape(*z.shape[:2], steps, pitches),
            drum.reshape(*z.shape[:2], steps, pitches),
            jnp.repeat(share.reshape(*z.shape[:2], -1, num_parts - 1), self.config.register_semitones, axis=2)[
                :, :, :pitches
            ],
            outlasts.reshape(*z.shape[:2], DURATION_SPANS, -1, num_parts - 1, len(DURATION_EDGES)),
        )

    def __call__(self, x: Rolls, key: jax.Array) -> VAEOutput:
        """Encodes, samples one latent a beat (the key is consumed), decodes and compares; sums over beats."""
        counts = self.counts(x)
        posterior = self._infer(counts, x.inside)
        z = reparameterize(key, posterior) * x.inside[..., None]
        kl = self.kl_nats(posterior, z) * x.inside
        return VAEOutput(jnp.sum(binomial_nll(self.feature_logits(z), counts), axis=1), jnp.sum(kl, axis=1))

    def kl_nats(self, posterior: Posterior, z: jax.Array) -> jax.Array:
        """KL divergence of the posterior from the prior given the sampled latents before, [B, T]; z [B, T, Z]."""
        return gaussian_divergence_nats(posterior, self.prior(z))

    def prior(self, z: jax.Array) -> Posterior:
        """Returns the prior of every beat given the latents before it, [B, T, Z]; zeros before the first."""
        beats = z.shape[1]
        lagged = [jnp.pad(z, ((0, 0), (lag, 0), (0, 0)))[:, :beats] for lag in _LAGS]
        past = jnp.concatenate(lagged, axis=-1)
        return Posterior(
            *jnp.split(self.prior_out(nn.gelu(self.prior_hidden(past))) + self.prior_skip(past), 2, axis=-1)
        )

    def sample_prior(self, key: jax.Array, num: int, num_examples: int, temperature: float = 1.0) -> jax.Array:
        """Samples latents of pieces beat by beat from the prior, [num, num_examples, Z] (the key is consumed);
        temperature scales the standard deviations."""
        size, longest = self.latent_dim, max(_LAGS)

        def step(past: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
            mean, log_var = (values[:, -1] for values in self.prior(jnp.pad(past, ((0, 0), (0, 1), (0, 0)))))
            z = mean + temperature * jnp.exp(log_var / 2) * noise
            return jnp.concatenate([past[:, 1:], z[:, None]], axis=1), z

        noise = jax.random.normal(key, (num_examples, num, size))
        return jnp.swapaxes(jax.lax.scan(step, jnp.zeros((num, longest, size)), noise)[1], 0, 1)

    def init_from_data(self, variables: Variables, inputs: InputBatches, seed: int) -> Variables:
        """Starts from PCA of the training beats; see `pianoroll_start.from_pca`."""
        return pianoroll_start.from_pca(self, variables, inputs, seed)

    def adapt(self, variables: Variables, inputs: InputBatches, known: Variables) -> Variables:
        """Starts from the parameters of another model; see `pianoroll_start.from_known`."""
        return pianoroll_start.from_known(self, variables, inputs, known)

    def feature_logits(self, z: jax.Array) -> jax.Array:
        """Maps latents [B, T, Z] to the logits of the modelled features, [B, T, M]."""
        chex.assert_shape(z, (None, None, self.latent_dim))
        return stack_neighbours(z, self.config.kernel_beats) @ self.kernel + self.bias

    def _infer(self, counts: BinomialCounts, inside: jax.Array) -> Posterior:
        fields, inside = self.config, inside[..., None]
        kernel, bias = jax.lax.stop_gradient((self.kernel, self.bias))

        def probability(z: jax.Array) -> jax.Array:
            return jax.nn.sigmoid(stack_neighbours(z, fields.kernel_beats) @ kernel + bias)

        def pull_back(residual: jax.Array) -> jax.Array:
            return add_neighbours(residual @ kernel.T, fields.kernel_beats) * inside

        gradient = pull_back(counts.successes - counts.trials * jax.nn.sigmoid(bias))
        z = stack_neighbours(gradient, fields.preconditioner_beats) @ self.start * inside

        # The gradient written out is cheaper than asking for it; a loop unrolled would gather the counts in every step.
        def ascend(state: _Pair, params: _Pair) -> tuple[_Pair, None]:
            (z, step), (momentum, preconditioner) = state, params
            gradient = pull_back(counts.successes - counts.trials * probability(z)) - fields.prior_weight * z
            step = momentum * step + stack_neighbours(gradient, fields.preconditioner_beats) @ preconditioner
            step = _LONGEST_STEP * jnp.tanh(step / _LONGEST_STEP)
            return ((z + step) * inside, step), None

        (z, _), _ = jax.lax.scan(ascend, (z, jnp.zeros_like(z)), (self.momentum, self.preconditioner))
        return Posterior(z, _LOG_VAR_SCALE * self.scaled_log_var * inside)


def stack_neighbours(x: jax.Array, width: int) -> jax.Array:
    """Puts every beat of [B, T, C] beside those around it, zeros past the ends: [B, T, width * C], width odd."""
    reach, beats = width // 2, x.shape[1]
    padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0)))
    return jnp.concatenate([padded[:, n : n + beats] for n in range(width)], axis=-1)


def add_neighbours(x: jax.Array, width: int) -> jax.Array:
    """The transpose of `stack_neighbours`: [B, T, width * C] to [B, T, C]."""
    reach, beats = width // 2, x.shape[1]
    parts = jnp.split(jnp.pad(x, ((0, 0), (reach, reach), (0, 0))), width, axis=-1)
    shifted = [part[:, width - 1 - n : width - 1 - n + beats] for n, part in enumerate(parts)]
    return functools.reduce(jnp.add, shifted)
