"""The path between two pieces through latent space.

python -m vae_jax.interpolate --workdir=RUN --start=A.mid --end=B.mid --steps=8 --output=DIR
"""

from __future__ import annotations

import pathlib

from absl import flags

from vae_jax.data import corpus
from vae_jax.data.corpus import Piece
from vae_jax.models import latents
from vae_jax.music import midi
from vae_jax.runtime import cli, files
from vae_jax.training.experiment import load_experiment


def _load_piece(path: str) -> Piece:
    return corpus.load_corpus(path).pieces[0]


def main() -> None:
    """Writes the path as MIDI files and one picture."""
    from vae_jax.report import plots  # Where it is used: matplotlib takes its time to import.

    args = cli.flag_values("workdir", "start", "end", "output")
    run = load_experiment(args.workdir)
    inference = run.inference()
    start, end = _load_piece(args.start), _load_piece(args.end)
    scores = latents.interpolate(inference, start.score, end.score, args.steps, args.windows)
    output = pathlib.Path(args.output)
    for n, score in enumerate(scores):
        files.write_bytes(output / f"step_{n:02d}.mid", midi.write_midi(score))
    titles = [start.label, *(f"{100 * n // (len(scores) - 1)}%" for n in range(1, len(scores) - 1)), end.label]
    plots.save(plots.plot_roll_row(scores, titles), output / "interpolation.png")
    print(f"{len(scores)} steps from {files.printable(start.label)} to {files.printable(end.label)} in {output}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "Folder of a trained run.")
    flags.DEFINE_string("start", "", "The MIDI file where the path starts.")
    flags.DEFINE_string("end", "", "The MIDI file where it ends.")
    flags.DEFINE_integer("steps", 8, "Points on the path, both ends included.", lower_bound=2, upper_bound=64)
    flags.DEFINE_integer("windows", 4, "Windows (of two bars in 4/4) to take of each piece.", lower_bound=1)
    flags.DEFINE_string("output", "", "Folder for the MIDI files and the picture.")
    cli.run(main)
