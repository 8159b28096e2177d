"""New music from a trained run.

python -m vae_jax.sample --workdir=RUN --num=8 --seed=0 --output=DIR [--density=prior|posterior] [--temperature=1.0]
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from absl import flags

from vae_jax.models import latents
from vae_jax.models.inference import Inference
from vae_jax.models.latents import LatentDensity
from vae_jax.music import midi
from vae_jax.music.score import Score
from vae_jax.representations.base import Representation
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.runtime import cli, files
from vae_jax.runtime.errors import UserError
from vae_jax.training.experiment import load_experiment
from vae_jax.training.run_dir import RunFolder

PRIOR, POSTERIOR = "prior", "posterior"


def sample_scores(
    inference: Inference, density: LatentDensity, num: int, seed: int, temperature: float = 1.0
) -> list[Score]:
    """Draws latents from a density and decodes each into a piece of one example."""
    noise = np.asarray(jax.random.normal(jax.random.key(seed), (num, inference.latent_dim)))
    z = density.sample(noise, temperature)
    return [inference.decode_score(z[n : n + 1]) for n in range(num)]


def load_density(kind: str, folder: RunFolder, latent_dim: int) -> LatentDensity:
    """Returns the prior, or a Gaussian fitted to the posterior means of the training examples of a run.

    Raises:
      UserError: where the run has not been evaluated yet.
    """
    if kind == PRIOR:
        return latents.prior_density(latent_dim)
    if not folder.latents.exists():
        raise UserError(f"{folder.path}: no {folder.latents.name} yet; let run.py finish, or use --density={PRIOR}")
    with np.load(folder.latents, allow_pickle=False) as arrays:
        return latents.fit_density(arrays["mean"][arrays["is_training"]])


def write_samples(folder: pathlib.Path, representation: Representation, scores: Sequence[Score], name: str) -> None:
    """Writes each piece as MIDI and as a picture."""
    from vae_jax.report import plots  # Where it is used: matplotlib takes its time to import.

    on_grid = isinstance(representation, RollRepresentation)
    for n, score in enumerate(scores):
        title = f"{name}_{n:03d}"
        files.write_bytes(folder / f"{title}.mid", midi.write_midi(score))
        picture = plots.plot_roll_row([score], [title]) if on_grid else plots.plot_score_lines(score, title)
        plots.save(picture, folder / f"{title}.png")


def main() -> None:
    """Draws and writes the samples."""
    args = cli.flag_values("workdir", "output")
    if args.temperature < 0:
        raise UserError(f"--temperature must not be negative, got {args.temperature}")
    run = load_experiment(args.workdir)
    inference = Inference(run.experiment, run.variables, run.calibration)
    density = load_density(args.density, run.folder, inference.latent_dim)
    scores = sample_scores(inference, density, args.num, args.seed, args.temperature)
    write_samples(pathlib.Path(args.output), run.experiment.representation, scores, "sample")
    print(f"{len(scores)} samples with {sum(len(score.notes) for score in scores)} notes in {args.output}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "Folder of a trained run.")
    flags.DEFINE_integer("num", 8, "How many pieces to draw.", lower_bound=1, upper_bound=10_000)
    flags.DEFINE_integer(
        "seed", 0, "Seed of the draw: the same seed gives the same bytes.", lower_bound=0, upper_bound=2**32 - 1
    )
    flags.DEFINE_enum("density", PRIOR, [PRIOR, POSTERIOR], "The prior, or a fit to the training posteriors.")
    flags.DEFINE_float("temperature", 1.0, "Scales the standard deviations of the density.")
    flags.DEFINE_string("output", "", "Folder for the samples as MIDI and pictures.")
    cli.run(main)
