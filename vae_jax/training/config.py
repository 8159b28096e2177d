"""The config sections of training, shared by both stages."""

import dataclasses

import optax

from vae_jax.data import batching
from vae_jax.runtime import config


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(config.Section):
    """The optimiser.

    Attributes:
      name: "rmsprop" has Keras's constants: decay 0.9, epsilon 1e-7 outside the root, no momentum. "adam" clips the
        norm of the gradient, warms up and follows a cosine to zero.
    """

    name: str = config.choice(("rmsprop", "adam"))
    learning_rate: float = config.number(above=0)  # The highest.
    warmup_steps: int = config.number(at_least=0, default=0)  # Of adam.
    clip_norm: float = config.number(above=0, default=1.0)
    b2: float = config.number(at_least=0, at_most=1, default=0.999)
    weight_decay: float = config.number(at_least=0, default=0.0)  # Of adam, decoupled.

    def make(self, num_steps: int) -> optax.GradientTransformation:
        """Returns the gradient transformation of a run of so many updates."""
        if self.name == "rmsprop":
            return optax.rmsprop(self.learning_rate, decay=0.9, eps=1e-7, eps_in_sqrt=False)
        warmup = min(self.warmup_steps, num_steps // 2)
        schedule = optax.warmup_cosine_decay_schedule(0.0, self.learning_rate, warmup, max(num_steps, warmup + 1))
        adam = optax.adamw(schedule, b2=self.b2, weight_decay=self.weight_decay)
        # Of all parameters as one vector: a program for each of a hundred arrays takes longer to compile and to run.
        return optax.flatten(optax.chain(optax.clip_by_global_norm(self.clip_norm), adam))


@dataclasses.dataclass(frozen=True)
class TrainConfig(config.Section):
    """The training loop.

    Attributes:
      num_epochs: passes over the examples, or more than one pass an epoch where these are few.
      min_steps: updates that a run makes at least; the examples are shown more often in an epoch for it.
      checkpoint_every_epochs, keep_checkpoints: how often the state is saved, and how many checkpoints are kept.
      keep_best: whether the run ends with the checkpoint of the lowest held-out loss, which may be the start, and keeps
        all. The held-out pieces have then been used to choose.
      average_decay: of the moving average of the parameters that is evaluated; 0 for none.
    """

    batch_size: int = config.number(at_least=1)  # Examples in a batch.
    num_epochs: int = config.number(at_least=1)
    min_steps: int = config.number(at_least=0, default=0)
    eval_every_epochs: int = config.number(at_least=1, default=1)  # How often the held-out loss is computed.
    checkpoint_every_epochs: int = config.number(at_least=1, default=1)
    keep_checkpoints: int = config.number(at_least=1, default=2)
    keep_best: bool = False
    average_decay: float = config.number(at_least=0, at_most=1, default=0.0)

    def epoch_steps(self, num_examples: int) -> int:
        """Number of updates in an epoch on so many examples."""
        passes = batching.passes_per_epoch(num_examples, self.batch_size, self.num_epochs, self.min_steps)
        return passes * batching.steps_per_epoch(num_examples, self.batch_size)

    def num_steps(self, num_examples: int) -> int:
        """Number of updates of a run on so many examples."""
        return self.num_epochs * self.epoch_steps(num_examples)
