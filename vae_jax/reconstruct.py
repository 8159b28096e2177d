"""Reconstructs scores with a trained run, or decodes saved latents.

python -m vae_jax.reconstruct --workdir=RUN --input=FILE_OR_FOLDER --output=DIR [--save_latents] [--wav]
python -m vae_jax.reconstruct --workdir=RUN --input=FILE.latents.npz --output=DIR [--wav]
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from absl import flags

from vae_jax.runtime import cli, files
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.text import quantity

if TYPE_CHECKING:
    from vae_jax.models.inference import Reconstruction
    from vae_jax.training.experiment import TrainedRun


def _describe(one: Reconstruction) -> str:
    """What became of a piece; drums and pitched notes are scored where the piece has them."""
    from vae_jax.evaluation.note_matching import SCORES

    drums = one.original.notes.is_drum
    labels = {}
    if not drums.all():
        labels = {"note_f1_50ms": "note F1 at 50 ms", "note_f1_instrument": "with instruments"}
    if drums.any():
        labels["drum_f1_50ms"] = "drum F1 at 50 ms"
    scores = [f"{label} {SCORES[name](one.original, one.score).f1:.4f}" for name, label in labels.items()]
    report = one.encoded.report.items()
    counts = [quantity(n, "note") + key.removeprefix("notes").replace("_", " ") for key, n in report if n]
    return f"{quantity(len(one.score.notes), 'note')} reconstructed, {', '.join(scores)} (from {', '.join(counts)})"


def _check_output(output: str, source: pathlib.Path) -> None:
    """Raises UserError where the next reading of the source would find the reconstructions."""
    folder = pathlib.Path(output)
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        is_own = (folder / files.OUTPUT_MARK).exists() or not folder.is_dir() or not any(folder.iterdir())
        if folder.resolve() == source.resolve() or not is_own:
            raise UserError(f"--output={output}: files of --input lie there; give a new folder")


def _reconstruct_corpus(run: TrainedRun, path: str, output: str, save_latents: bool, with_audio: bool) -> None:
    from vae_jax.data import corpus
    from vae_jax.models import latent_io
    from vae_jax.report import artifacts

    _check_output(output, files.expand_home(path))
    source = corpus.load_corpus(path)
    labels = [piece.label for piece in source.pieces]
    names = files.safe_names(labels)
    representation = run.experiment.representation
    reconstructions = run.inference().reconstruct([piece.score for piece in source.pieces])
    folder = files.make_output(output)
    rows = zip(names, labels, reconstructions, strict=True)
    artifacts.write_reconstructions(folder, representation, rows, with_audio)
    for name, label, one in zip(names, labels, reconstructions, strict=True):
        if save_latents:
            target = folder / f"{name}.latents.npz"
            latent_io.save(target, one.posterior, one.encoded.context, run.description["run_id"])
        print(f"{files.printable(label)}: {_describe(one)}")
    for file in source.files:
        if file.score is None:
            print(f"{files.printable(file.path)}: refused ({file.reasons[0]})")
    print(f"{len(labels)} reconstructed into {folder} by step {run.step} of {run.folder.path}")


def _decode_latents(run: TrainedRun, path: str, output: str, with_audio: bool) -> None:
    from vae_jax.models import latent_io
    from vae_jax.music import midi
    from vae_jax.report import artifacts

    inference = run.inference()
    mean, context = latent_io.load(path, inference.representation, inference.latent_dim, run.description["run_id"])
    score = inference.decode_score(mean, context)
    name = files.safe_name(pathlib.Path(path).name.removesuffix(".npz").removesuffix(".latents"))
    target = files.make_output(output) / f"{name}.decoded.mid"
    files.write_bytes(target, midi.write_midi(score))
    if with_audio:
        artifacts.write_audio(target.parent, {target.stem: score})
    print(f"latents of {quantity(len(mean), 'window')} decoded into {quantity(len(score.notes), 'note')} in {target}")


def main() -> None:
    """Reconstructs the input and prints a line for each piece."""
    args = cli.flag_values("workdir", "input", "output")

    from vae_jax.training.experiment import load_experiment

    run = load_experiment(args.workdir)
    if args.input.endswith(".npz"):
        _decode_latents(run, args.input, args.output, args.wav)
    else:
        _reconstruct_corpus(run, args.input, args.output, args.save_latents, args.wav)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "pretrained", "Folder of a trained run; by default the one that is shipped.")
    flags.DEFINE_string("input", "", "A file, a folder, a zip, or saved latents (.npz).")
    flags.DEFINE_string("output", "", "Folder for the reconstructions as MIDI and pictures.")
    flags.DEFINE_bool("save_latents", False, "Whether to save the latents of each piece as .latents.npz too.")
    flags.DEFINE_bool("wav", False, "Whether to render each original and reconstruction as a WAV file too.")
    cli.run(main)
