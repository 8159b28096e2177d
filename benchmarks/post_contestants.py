"""The post's model, its loss and its optimiser in every library that `benchmarks.post_step` compares.

All start from the parameters of `parameters` and take the same batches with the same noise, so that their losses must
be the same, step by step. Every contestant has `num_parameters()`, `losses(batch_size, num_steps)`, which trains and
returns the loss of each step, `step(batch_size, num_steps)`, which is timed, and `matmul(size)`.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

from benchmarks.interleaved import matmul_seconds
from configs import post

BATCH_SIZES = (10, 64)
FILTERS, HIDDEN, LATENTS = 36, 256, 2
SHAPE = (150, 3, 9)  # Notes, features, tracks.
_WIDTHS = (FILTERS, 2 * FILTERS, 4 * FILTERS, 8 * FILTERS)
_KERNELS = ((5, 1), (5, 1), (5, 3), (5, 3))
_FLAT = SHAPE[0] * SHAPE[1] * _WIDTHS[-1]
_EPSILON = 1e-7  # Keras's, of the loss and of the optimiser.
_RATE, _DECAY = 1e-3, 0.9


def layers() -> list[tuple[str, tuple[int, ...]]]:
    """Every layer with the shape of its kernel: (in, out) of a dense one, (height, width, in, out) of a convolution."""
    encoder_in = (SHAPE[2], *_WIDTHS[:-1])
    decoder_in, decoder_out = (_WIDTHS[-1], *_WIDTHS[:0:-1]), (*_WIDTHS[:0:-1], SHAPE[2])
    dense = (HIDDEN, HIDDEN // 2, HIDDEN // 4)
    found: list[tuple[str, tuple[int, ...]]] = []
    found += [(f"encoder/conv_{n}", (*_KERNELS[n], encoder_in[n], _WIDTHS[n])) for n in range(4)]
    found += [(f"encoder/dense_{n}", sizes) for n, sizes in enumerate(zip((_FLAT, *dense), dense, strict=False))]
    found += [(f"encoder/{name}", (dense[-1], LATENTS)) for name in ("mean", "log_var")]
    back = (LATENTS, *dense[::-1], _FLAT)
    found += [(f"decoder/dense_{n}", sizes) for n, sizes in enumerate(itertools.pairwise(back))]
    found += [(f"decoder/conv_{n}", (*_KERNELS[::-1][n], decoder_in[n], decoder_out[n])) for n in range(4)]
    return found


def parameters() -> dict[str, np.ndarray]:
    """Draws the kernels as Keras does (Glorot's uniform); biases start at zero. Float32."""
    rng = np.random.default_rng(0)
    kernels = {}
    for name, shape in layers():
        field = int(np.prod(shape[:-2]))
        limit = np.sqrt(6 / (field * (shape[-2] + shape[-1])))
        kernels[name] = rng.uniform(-limit, limit, shape).astype(np.float32)
    return kernels


def forward_flops() -> int:
    """Floating-point operations of the model's matrix products for one example, counted by hand."""
    positions = SHAPE[0] * SHAPE[1]
    return sum(2 * int(np.prod(shape)) * (positions if len(shape) == 4 else 1) for _, shape in layers())


def examples(batch_size: int) -> np.ndarray:
    """A batch of the post's arrays, [B, notes, 3, tracks] float32; what stands in them does not change the time."""
    return np.random.default_rng(1).uniform(0, 128, (batch_size, *SHAPE)).astype(np.float32)


def square(size: int) -> np.ndarray:
    """A square matrix to measure the machine with, float32."""
    return np.random.default_rng(2).normal(size=(size, size)).astype(np.float32)


class Ours:
    """vae_jax as `run.py --config=configs/post.py` runs it."""

    def __init__(self) -> None:
        import jax
        import jax.numpy as jnp

        from vae_jax.training import experiment
        from vae_jax.training import step as step_lib

        self._experiment = experiment.build_experiment(post.get_config().to_dict())
        flat = {name: {"kernel": jnp.asarray(kernel)} for name, kernel in parameters().items()}
        params: dict[str, Any] = {"encoder": {}, "decoder": {}}
        for name, layer in flat.items():
            half, _, place = name.partition("/")
            params[half][place] = layer | {"bias": jnp.zeros(layer["kernel"].shape[-1])}
        self._num_parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
        self._init = jax.jit(lambda: step_lib.init_state({"params": params}, self._experiment.optimizer(1), 0.0))
        self._train_steps = {size: self._experiment.train_step(1) for size in BATCH_SIZES}
        self._examples = {size: {"events": jnp.asarray(examples(size))} for size in BATCH_SIZES}
        self._state: Any = None

    def num_parameters(self) -> int:
        """Number of trained values."""
        return self._num_parameters

    def noise(self, batch_size: int, num_steps: int) -> np.ndarray:
        """What the first steps draw, [num_steps, B, 1]."""
        import jax

        def drawn(step: int) -> jax.Array:
            _, key = jax.random.split(jax.random.fold_in(self._experiment.keys()["train"], step))
            return jax.random.normal(key, (batch_size, 1))

        return np.stack([np.asarray(drawn(step)) for step in range(num_steps)])

    def losses(self, batch_size: int, noise: np.ndarray) -> list[float]:
        """Trains anew for as many steps as there is noise; returns their losses."""
        from vae_jax.runtime import sharding

        self._state = sharding.replicate(self._init())  # As `loop.fit` does; elsewhere the step is traced twice.
        return [float(self._steps(batch_size, 1)["loss"]) for _ in noise]

    def step(self, batch_size: int, num_steps: int) -> None:
        """Trains for so many steps, and waits for the last."""
        import jax

        jax.block_until_ready((self._steps(batch_size, num_steps), self._state))

    def matmul(self, size: int) -> float:
        """Seconds of one matrix product."""
        import jax
        import jax.numpy as jnp

        a = jnp.asarray(square(size))
        multiply = jax.jit(jnp.matmul)
        return matmul_seconds(lambda: multiply(a, a).block_until_ready())

    def counted(self, batch_size: int) -> dict[str, float]:
        """What XLA counts in a step: floating-point operations, and bytes that go in and out of its kernels."""
        import jax

        abstract = jax.eval_shape(self._init)
        step = self._experiment.train_step(1)
        cost = step.lower(abstract, self._examples[batch_size], self._batch(batch_size)).compile().cost_analysis()
        return {"flops": cost["flops"], "bytes": cost["bytes accessed"]}

    def _steps(self, batch_size: int, num_steps: int) -> Any:
        batch = self._batch(batch_size)
        for _ in range(num_steps):
            self._state, terms = self._train_steps[batch_size](self._state, self._examples[batch_size], batch)
        return terms

    def _batch(self, size: int) -> Any:
        from vae_jax.data.dataset import Batch

        return Batch.place(np.arange(size, dtype=np.int32), size, size)


class Torch:
    """PyTorch as one would write it; `compiled` passes the loss and the optimiser through `torch.compile`."""

    def __init__(self, compiled: bool):
        import torch

        self._torch = torch
        torch.manual_seed(0)
        self._kernels = parameters()
        self._model = _torch_model()
        self._optimizer = torch.optim.RMSprop(self._model.parameters(), lr=_RATE, alpha=_DECAY, eps=_EPSILON)
        self._loss, self._update = functools.partial(_torch_loss, self._model), self._optimizer.step
        if compiled:
            self._loss, self._update = (torch.compile(one, dynamic=False) for one in (self._loss, self._update))
        self._x = {size: torch.tensor(examples(size).transpose(0, 3, 1, 2)) for size in BATCH_SIZES}
        self._noise = {size: torch.zeros(size, 1) for size in BATCH_SIZES}
        self._reset()

    def num_parameters(self) -> int:
        """Number of trained values."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    def losses(self, batch_size: int, noise: np.ndarray) -> list[float]:
        """Trains anew for as many steps as there is noise; returns their losses."""
        self._reset()
        return [self._step(batch_size, self._torch.tensor(row)).item() for row in noise]

    def step(self, batch_size: int, num_steps: int) -> None:
        """Trains for so many steps."""
        for _ in range(num_steps):
            self._step(batch_size, self._noise[batch_size])

    def matmul(self, size: int) -> float:
        """Seconds of one matrix product."""
        a = self._torch.tensor(square(size))
        return matmul_seconds(lambda: a @ a)

    def _step(self, batch_size: int, noise: Any) -> Any:
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self._x[batch_size], noise)
        loss.backward()
        self._update()
        return loss

    def _reset(self) -> None:
        torch = self._torch
        with torch.no_grad():
            for name, kernel in self._kernels.items():
                half, _, place = name.partition("/")
                layer = self._model[half][place]
                if isinstance(layer, torch.nn.Linear):
                    kernel = _torch_order(name, kernel).T
                elif isinstance(layer, torch.nn.ConvTranspose2d):
                    kernel = kernel[::-1, ::-1].transpose(2, 3, 0, 1)  # It turns the kernel round.
                else:
                    kernel = kernel.transpose(3, 2, 0, 1)
                layer.weight.copy_(torch.tensor(np.ascontiguousarray(kernel)))
                layer.bias.zero_()
        self._optimizer.state.clear()


def _torch_model() -> Any:
    from torch import nn

    halves: dict[str, nn.ModuleDict] = {"encoder": nn.ModuleDict(), "decoder": nn.ModuleDict()}
    for name, shape in layers():
        half, _, place = name.partition("/")
        if len(shape) == 2:
            halves[half][place] = nn.Linear(*shape)
            continue
        height, width, num_in, num_out = shape
        make = nn.Conv2d if half == "encoder" else nn.ConvTranspose2d
        halves[half][place] = make(num_in, num_out, (height, width), padding=(height // 2, width // 2))
    return nn.ModuleDict(halves)


def _torch_order(name: str, kernel: np.ndarray) -> np.ndarray:
    """A dense kernel whose flattened side is ordered by [channel, note, feature], as PyTorch's arrays are."""
    positions = SHAPE[0] * SHAPE[1]
    if name == "encoder/dense_0":
        return kernel.reshape(positions, -1, kernel.shape[1]).transpose(1, 0, 2).reshape(kernel.shape)
    if name == "decoder/dense_3":
        return kernel.reshape(kernel.shape[0], positions, -1).transpose(0, 2, 1).reshape(kernel.shape)
    return kernel


def _torch_loss(model: Any, x: Any, noise: Any) -> Any:
    import torch

    encoder, decoder = model["encoder"], model["decoder"]
    y = x
    for n in range(4):
        y = torch.relu(encoder[f"conv_{n}"](y))
    y = y.flatten(1)
    for n in range(3):
        y = torch.sigmoid(encoder[f"dense_{n}"](y))
    mean, log_var = encoder["mean"](y), encoder["log_var"](y)
    z = mean + torch.exp(log_var) * noise
    for n in range(3):
        z = torch.sigmoid(decoder[f"dense_{n}"](z))
    y = torch.relu(decoder["dense_3"](z)).reshape(-1, _WIDTHS[-1], *SHAPE[:2])
    for n in range(4):
        y = torch.relu(decoder[f"conv_{n}"](y))
    difference = torch.log1p(y.clamp(min=_EPSILON)) - torch.log1p(x.clamp(min=_EPSILON))
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(dim=1)
    return difference.square().mean() + 0.5 * kl.mean()


class Keras:
    """Keras 3 as one would write it: a model compiled with its optimiser and `train_on_batch`."""

    def __init__(self, jit_compile: bool | str = "auto"):
        import keras
        from keras import ops

        self._keras = keras

        class VAE(keras.Model):
            def __init__(self) -> None:
                super().__init__()
                self.encoder, self.decoder = _keras_halves()

            def call(self, inputs: Any) -> Any:
                x, noise = inputs
                mean, log_var = self.encoder(x)
                self.add_loss(0.25 * ops.mean(ops.sum(ops.square(mean) + ops.exp(log_var) - 1 - log_var, axis=-1)))
                return self.decoder(mean + ops.exp(log_var) * noise)

        self._model = VAE()
        # Keras 3 has its epsilon inside the root; Keras 2, which the post used, outside.
        optimizer = keras.optimizers.RMSprop(_RATE, rho=_DECAY, epsilon=_EPSILON**2)
        self._model.compile(optimizer, loss="mean_squared_logarithmic_error", jit_compile=jit_compile)
        self._x = {size: examples(size) for size in BATCH_SIZES}
        self._kernels = parameters()
        self._reset()

    def num_parameters(self) -> int:
        """Number of trained values."""
        return self._model.encoder.count_params() + self._model.decoder.count_params()

    def losses(self, batch_size: int, noise: np.ndarray) -> list[float]:
        """Trains anew for as many steps as there is noise; returns their losses."""
        self._reset()
        return [self._step(batch_size, row) for row in noise]

    def step(self, batch_size: int, num_steps: int) -> None:
        """Trains for so many steps; each returns its loss."""
        for _ in range(num_steps):
            self._step(batch_size, np.zeros((batch_size, 1), np.float32))

    def _step(self, batch_size: int, noise: np.ndarray) -> float:
        x = self._x[batch_size]
        self._model.reset_metrics()
        return float(self._model.train_on_batch((x, noise), x))

    def _reset(self) -> None:
        for name, kernel in self._kernels.items():
            half, _, place = name.partition("/")
            layer = getattr(self._model, half).get_layer(place)
            if isinstance(layer, self._keras.layers.Conv2DTranspose):
                kernel = kernel[::-1, ::-1].swapaxes(2, 3)  # It turns the kernel round, and has the outputs first.
            layer.set_weights([kernel, np.zeros(layer.bias.shape, np.float32)])
        for variable in self._model.optimizer.variables:
            if "velocity" in variable.path:
                variable.assign(np.zeros(variable.shape, np.float32))


def _keras_halves() -> Any:
    from keras import Input, Model
    from keras.layers import Conv2D, Conv2DTranspose, Dense, Flatten, Reshape

    sizes = dict(layers())

    def convolve(make: Any, half: str, n: int, y: Any) -> Any:
        height, width, _, channels = sizes[f"{half}/conv_{n}"]
        return make(channels, (height, width), padding="same", activation="relu", name=f"conv_{n}")(y)

    x = y = Input(SHAPE)
    for n in range(4):
        y = convolve(Conv2D, "encoder", n, y)
    y = Flatten()(y)
    for n in range(3):
        y = Dense(sizes[f"encoder/dense_{n}"][1], activation="sigmoid", name=f"dense_{n}")(y)
    encoder = Model(x, [Dense(LATENTS, name=name)(y) for name in ("mean", "log_var")])
    z = y = Input((LATENTS,))
    for n in range(4):
        activation = "sigmoid" if n < 3 else "relu"
        y = Dense(sizes[f"decoder/dense_{n}"][1], activation=activation, name=f"dense_{n}")(y)
    y = Reshape((*SHAPE[:2], _WIDTHS[-1]))(y)
    for n in range(4):
        y = convolve(Conv2DTranspose, "decoder", n, y)
    return encoder, Model(z, y)
