"""New music from the prior of a trained run: `python -m vae_jax.sample --workdir=RUN --num=8 --seed=0 --output=DIR`."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from absl import flags

from vae_jax import cli, files, midi, plots
from vae_jax.experiment import load_experiment
from vae_jax.inference import Inference
from vae_jax.score import Score


def sample_prior(inference: Inference, latent_dim: int, num: int, seed: int) -> list[Score]:
    """Draws latents from the standard normal prior and decodes each into a piece."""
    z = np.asarray(jax.random.normal(jax.random.key(seed), (num, latent_dim)))
    return [inference.decode_score(z[n : n + 1]) for n in range(num)]


def write_samples(folder: pathlib.Path, scores: Sequence[Score]) -> None:
    """Writes each piece as MIDI and as a picture."""
    for n, score in enumerate(scores):
        name = f"sample_{n:03d}"
        files.write_bytes(folder / f"{name}.mid", midi.write_midi(score))
        plots.save(plots.plot_score_lines(score, name), folder / f"{name}.png")


def main() -> None:
    """Draws and writes the samples."""
    args = cli.flag_values("workdir", "output")
    run = load_experiment(args.workdir)
    inference = Inference(run.experiment, run.params)
    scores = sample_prior(inference, run.experiment.model.latent_dim, args.num, args.seed)
    write_samples(pathlib.Path(args.output), scores)
    print(f"{len(scores)} samples with {sum(len(score.notes) for score in scores)} notes in {args.output}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "Folder of a trained run.")
    flags.DEFINE_integer("num", 8, "How many pieces to draw.", lower_bound=1, upper_bound=10_000)
    flags.DEFINE_integer("seed", 0, "Seed of the draw: the same seed gives the same bytes.", lower_bound=0)
    flags.DEFINE_string("output", "", "Folder for the samples as MIDI and pictures.")
    cli.run(main)
