"""Reconstructs scores with a trained run, or decodes saved latents.

python -m vae_jax.reconstruct --workdir=RUN --input=FILE_OR_FOLDER --output=DIR [--save_latents]
python -m vae_jax.reconstruct --workdir=RUN --input=FILE.latents.npz --output=DIR
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from absl import flags

from vae_jax.runtime import cli, files

if TYPE_CHECKING:
    from vae_jax.training.experiment import TrainedRun


def _reconstruct_corpus(run: TrainedRun, path: str, output: pathlib.Path, save_latents: bool) -> None:
    from vae_jax.data import corpus
    from vae_jax.evaluation import reconstruction
    from vae_jax.models import latent_io
    from vae_jax.report import artifacts

    source = corpus.load_corpus(path)
    labels = [piece.label for piece in source.pieces]
    names = files.safe_names(labels)
    representation = run.experiment.representation
    reconstructions = run.inference().reconstruct([piece.score for piece in source.pieces])
    artifacts.write_reconstructions(output, representation, zip(names, labels, reconstructions, strict=True))
    for name, label, one in zip(names, labels, reconstructions, strict=True):
        if save_latents:
            target = output / f"{name}.latents.npz"
            latent_io.save(target, one.posterior, one.encoded.context, run.description["run_id"])
        f1 = [
            reconstruction.SCORES[name](one.original, one.score).f1 for name in ("note_f1_50ms", "note_f1_instrument")
        ]
        counts = ", ".join(f"{count} {key.replace('_', ' ')}" for key, count in one.encoded.report.items() if count)
        print(
            f"{files.printable(label)}: {len(one.score.notes)} notes reconstructed, note F1 at 50 ms {f1[0]:.4f}, "
            f"with instruments {f1[1]:.4f} (from {counts})"
        )
    for file in source.files:
        if file.score is None:
            print(f"{files.printable(file.path)}: refused ({file.reasons[0]})")
    print(f"{len(labels)} reconstructed into {output} by step {run.step} of {run.folder.path}")


def _decode_latents(run: TrainedRun, path: str, output: pathlib.Path) -> None:
    from vae_jax.models import latent_io
    from vae_jax.music import midi

    inference = run.inference()
    mean, context = latent_io.load(path, inference.representation, inference.latent_dim, run.description["run_id"])
    score = inference.decode_score(mean, context)
    name = files.safe_name(pathlib.Path(path).name.removesuffix(".npz").removesuffix(".latents"))
    target = output / f"{name}.decoded.mid"
    files.write_bytes(target, midi.write_midi(score))
    print(f"{len(mean)} latents decoded into {len(score.notes)} notes in {target}")


def main() -> None:
    """Reconstructs the input and prints a line for each piece."""
    args = cli.flag_values("workdir", "input", "output")

    from vae_jax.training.experiment import load_experiment

    run, output = load_experiment(args.workdir), pathlib.Path(args.output)
    if args.input.endswith(".npz"):
        _decode_latents(run, args.input, output)
    else:
        _reconstruct_corpus(run, args.input, output, args.save_latents)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "Folder of a trained run.")
    flags.DEFINE_string("input", "", "A file, a folder, a zip, or saved latents (.npz).")
    flags.DEFINE_string("output", "", "Folder for the reconstructions as MIDI and pictures.")
    flags.DEFINE_bool("save_latents", False, "Whether to save the latents of each piece as .latents.npz too.")
    cli.run(main)
