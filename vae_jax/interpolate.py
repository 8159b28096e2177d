"""Interpolates between two pieces in latent space.

python -m vae_jax.interpolate --workdir=RUN --start=A.mid --end=B.mid --steps=8 --output=DIR

A run with a composer writes new music that lies between the pieces by the latents of their phrases; any other decodes
points between the latents of the pieces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from vae_jax.runtime import cli, files
from vae_jax.runtime.text import quantity

if TYPE_CHECKING:
    from vae_jax.data.corpus import Piece
    from vae_jax.music.score import Score
    from vae_jax.training.experiment import TrainedRun


def _compose(run: TrainedRun, start: Piece, end: Piece, num_steps: int, num_beats: int, seed: int) -> list[Score]:
    """Composes pieces between the first beats of two others; the ends are the pieces themselves."""
    import dataclasses

    from vae_jax.composer import generate, requests, stage
    from vae_jax.music import score as score_lib

    composer = stage.load_composer(run)
    first, last = (
        dataclasses.replace(one, score=score_lib.cut(one.score, num_beats * one.score.ticks_per_beat))
        for one in (start, end)
    )
    shares = [n / (num_steps - 1) for n in range(1, num_steps - 1)]
    asked = [requests.interpolation_request(composer, first, last, share) for share in shares]
    return [first.score, *(generate.generate_pieces(composer, asked, seed) if asked else []), last.score]


def main() -> None:
    """Writes every point as a MIDI file, and one picture of all."""
    args = cli.flag_values("workdir", "start", "end", "output")

    from vae_jax.data import corpus
    from vae_jax.models import latents
    from vae_jax.report import artifacts
    from vae_jax.training.experiment import load_experiment

    run = load_experiment(args.workdir)
    start, end = corpus.load_piece(args.start), corpus.load_piece(args.end)
    if "composer" in run.experiment.raw:
        scores = _compose(run, start, end, args.steps, args.length, args.seed)
    else:
        scores = latents.interpolate(run.inference(), start.score, end.score, args.steps, args.length)
    artifacts.write_interpolation(files.make_output(args.output), scores, start.label, end.label)
    names = f"{files.printable(start.label)} to {files.printable(end.label)}"
    print(f"{quantity(len(scores), 'step')} from {names} in {args.output}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "pretrained", "Folder of a trained run; by default the one that is shipped.")
    flags.DEFINE_string("start", "", "The MIDI file of the first point.")
    flags.DEFINE_string("end", "", "The MIDI file of the last point.")
    flags.DEFINE_integer("steps", 8, "Number of points, both ends included.", lower_bound=2, upper_bound=64)
    flags.DEFINE_integer("length", 32, "Beats to take of each piece.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of a composer.", lower_bound=0, upper_bound=2**32 - 1)
    flags.DEFINE_string("output", "", "Folder for the MIDI files and the picture.")
    cli.run(main)
