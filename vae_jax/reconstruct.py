"""Reconstructs MIDI files with a trained run, or decodes latents that were saved.

python -m vae_jax.reconstruct --workdir=RUN --input=FILE_OR_FOLDER --output=DIR [--save_latents]
python -m vae_jax.reconstruct --workdir=RUN --input=FILE.latents.npz --output=DIR
"""

from __future__ import annotations

import pathlib

from absl import flags

from vae_jax.data import corpus
from vae_jax.evaluation import reconstruction
from vae_jax.models import latent_io
from vae_jax.models.inference import Inference, Reconstruction
from vae_jax.music import midi
from vae_jax.report import artifacts
from vae_jax.runtime import cli, files
from vae_jax.training.experiment import TrainedRun, load_experiment


def score_line(label: str, one: Reconstruction) -> str:
    """One line for one piece: its notes, the reconstruction's, and its scores."""
    f1 = {name: count(one.original, one.score).f1 for name, count in reconstruction.SCORES.items()}
    lost = [f"{count} {name.replace('_', ' ')}" for name, count in one.encoded.report.items() if count]
    return (
        f"{files.printable(label)}: {len(one.score.notes)} notes reconstructed, "
        f"note F1 at 50 ms {f1['note_f1_50ms']:.4f}, "
        f"with instruments {f1['note_f1_instrument']:.4f} (from {', '.join(lost)})"
    )


def _reconstruct_corpus(run: TrainedRun, inference: Inference, path: str, output: pathlib.Path, save: bool) -> None:
    source = corpus.load_corpus(path)
    labels = [piece.label for piece in source.pieces]
    reconstructions = inference.reconstruct([piece.score for piece in source.pieces])
    representation = run.experiment.representation
    names = files.safe_names(labels)
    artifacts.write_reconstructions(output, representation, names, labels, reconstructions)
    for name, label, one in zip(names, labels, reconstructions, strict=True):
        if save:
            target = output / f"{name}.latents.npz"
            latent_io.save(target, one.posterior, one.encoded.context, run.description["run_id"])
        print(score_line(label, one))
    for file in source.files:
        if file.score is None:
            print(f"{files.printable(file.path)}: refused ({file.reasons[0]})")
    print(f"{len(labels)} reconstructed into {output} by step {run.step} of {run.folder.path}")


def main() -> None:
    """Reconstructs the input and prints a line for each piece."""
    args = cli.flag_values("workdir", "input", "output")
    run = load_experiment(args.workdir)
    inference = run.inference()
    output = pathlib.Path(args.output)
    if args.input.endswith(".npz"):
        representation, run_id = run.experiment.representation, run.description["run_id"]
        mean, context = latent_io.load(args.input, representation, inference.latent_dim, run_id)
        score = inference.decode_score(mean, context)
        name = files.safe_name(pathlib.Path(args.input).name.removesuffix(".npz").removesuffix(".latents"))
        files.write_bytes(output / f"{name}.decoded.mid", midi.write_midi(score))
        print(f"{len(mean)} latents decoded into {len(score.notes)} notes in {output / f'{name}.decoded.mid'}")
    else:
        _reconstruct_corpus(run, inference, args.input, output, args.save_latents)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "Folder of a trained run.")
    flags.DEFINE_string("input", "", "A MIDI file, a folder, a zip, or latents saved earlier (.npz).")
    flags.DEFINE_string("output", "", "Folder for the reconstructions as MIDI and pictures.")
    flags.DEFINE_bool("save_latents", False, "Whether to save each piece's latents as .latents.npz too.")
    cli.run(main)
