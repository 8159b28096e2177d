"""Reconstructs MIDI files with a trained run.

python -m vae_jax.reconstruct --workdir=RUN --input=FILE_OR_FOLDER --output=DIR
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from absl import flags

from vae_jax import cli, corpus, evaluate, files, midi, plots
from vae_jax.experiment import load_experiment
from vae_jax.inference import Inference, Reconstruction


def write_reconstructions(
    folder: pathlib.Path, labels: Sequence[str], reconstructions: Sequence[Reconstruction]
) -> None:
    """Writes each original and its reconstruction as MIDI, and both in one picture."""
    for label, one in zip(labels, reconstructions, strict=True):
        name = files.safe_name(label)
        files.write_bytes(folder / f"{name}.original.mid", midi.write_midi(one.original))
        files.write_bytes(folder / f"{name}.reconstruction.mid", midi.write_midi(one.score))
        plots.save(plots.plot_lines(one.original, one.score, label), folder / f"{name}.png")


def score_line(label: str, one: Reconstruction) -> str:
    """One line for one piece: its notes, the reconstruction's, and the note F1."""
    f1 = evaluate.SCORES["note_f1_50ms"](one.original, one.score).f1
    notes, reconstructed = len(one.original.notes), len(one.score.notes)
    return f"{label}: {notes} notes, {reconstructed} reconstructed, note F1 at 50 ms {f1:.4f}"


def main() -> None:
    """Reconstructs the input and prints a line for each piece."""
    args = cli.flag_values("workdir", "input", "output")
    run = load_experiment(args.workdir)
    source = corpus.load_corpus(args.input)
    pieces = source.pieces
    labels = [piece.label for piece in pieces]
    reconstructions = Inference(run.experiment, run.params).reconstruct([piece.score for piece in pieces])
    write_reconstructions(pathlib.Path(args.output), labels, reconstructions)
    for label, one in zip(labels, reconstructions, strict=True):
        print(score_line(files.plain(label), one))
    refused = [file for file in source.files if file.score is None]
    for file in refused:
        print(f"{files.plain(file.path)}: refused ({file.reasons[0]})")
    print(f"{len(pieces)} reconstructed into {args.output} by step {run.step} of {args.workdir}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "Folder of a trained run.")
    flags.DEFINE_string("input", "", "A MIDI file, a folder or a zip.")
    flags.DEFINE_string("output", "", "Folder for the reconstructions as MIDI and pictures.")
    cli.run(main)
