"""Interpolates between two pieces in latent space.

python -m vae_jax.interpolate --workdir=RUN --start=A.mid --end=B.mid --steps=8 --output=DIR
"""

from absl import flags

from vae_jax.runtime import cli, files


def main() -> None:
    """Writes every point as a MIDI file, and one picture of all."""
    args = cli.flag_values("workdir", "start", "end", "output")

    from vae_jax.data import corpus
    from vae_jax.models import latents
    from vae_jax.report import artifacts
    from vae_jax.training.experiment import load_experiment

    inference = load_experiment(args.workdir).inference()
    start, end = corpus.load_piece(args.start), corpus.load_piece(args.end)
    scores = latents.interpolate(inference, start.score, end.score, args.steps, args.length)
    artifacts.write_interpolation(files.make_output(args.output), scores, start.label, end.label)
    print(f"{len(scores)} steps from {files.printable(start.label)} to {files.printable(end.label)} in {args.output}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "Folder of a trained run.")
    flags.DEFINE_string("start", "", "The MIDI file of the first point.")
    flags.DEFINE_string("end", "", "The MIDI file of the last point.")
    flags.DEFINE_integer("steps", 8, "Number of points, both ends included.", lower_bound=2, upper_bound=64)
    flags.DEFINE_integer("length", 32, "Beats to take of each piece.", lower_bound=1)
    flags.DEFINE_string("output", "", "Folder for the MIDI files and the picture.")
    cli.run(main)
