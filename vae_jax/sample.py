"""Samples new music from a trained run.

python -m vae_jax.sample --workdir=RUN --num=8 --seed=0 --output=DIR [--density=prior|posterior] [--temperature=1.0]
"""

from absl import flags

from vae_jax.runtime import cli, files
from vae_jax.runtime.text import quantity


def main() -> None:
    """Draws and writes the samples."""
    args = cli.flag_values("workdir", "output")
    cli.check_range("temperature", cli.MAX_TEMPERATURE)

    from vae_jax.models import latent_io, latents
    from vae_jax.report import artifacts
    from vae_jax.training.experiment import load_experiment

    run = load_experiment(args.workdir)
    inference = run.inference()
    density = latent_io.load_density(args.density, run.folder.latents)
    scores = latents.sample_scores(inference, density, args.num, args.seed, args.temperature)
    artifacts.write_scores(files.make_output(args.output), "sample", scores, inference.representation)
    num_notes = quantity(sum(len(score.notes) for score in scores), "note")
    print(f"{quantity(len(scores), 'sample')} with {num_notes} in {args.output}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "pretrained", "Folder of a trained run; by default the one that is shipped.")
    flags.DEFINE_integer("num", 8, "Number of pieces.", lower_bound=1, upper_bound=10_000)
    flags.DEFINE_integer("seed", 0, "Seed: the same seed gives the same bytes.", lower_bound=0, upper_bound=2**32 - 1)
    flags.DEFINE_enum(
        "density", "prior", ["prior", "posterior"], "The prior, or a Gaussian fitted to the training posteriors."
    )
    flags.DEFINE_float("temperature", 1.0, "Scales the standard deviations of the density.")
    flags.DEFINE_string("output", "", "Folder for the samples as MIDI and pictures.")
    cli.run(main)
