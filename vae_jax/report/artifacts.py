"""The MIDI files, plots, latents and audio that runs and commands write."""

import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from vae_jax.data.corpus import Corpus
from vae_jax.data.splits import Split
from vae_jax.models.inference import Inference, Reconstruction
from vae_jax.models.latent_io import load_density, save_corpus
from vae_jax.models.latents import POSTERIOR, PRIOR, sample_scores
from vae_jax.music import audio, midi
from vae_jax.music.score import Score
from vae_jax.report import plots
from vae_jax.report.latent_map import map_latents
from vae_jax.representations.base import AnyRepresentation
from vae_jax.runtime import files
from vae_jax.runtime.files import Json
from vae_jax.training import logging
from vae_jax.training.experiment import Experiment
from vae_jax.training.run_dir import RunFolder


def write_all(
    folder: RunFolder,
    experiment: Experiment,
    corpus: Corpus,
    split: Split,
    reconstructions: Sequence[Reconstruction],
    inference: Inference,
    results: Json,
) -> None:
    """Writes latents, plots, samples, and reconstructions of the first piece (the post's) and the held-out pieces.

    The plots show the corpus, the learning curves, and the latents with their clusters, elbow curve and dendrogram.
    Reconstructions of the first 200 training pieces are written as MIDI only.
    """
    posteriors = [one.posterior for one in reconstructions]
    save_corpus(folder.latents, posteriors, split.train)
    labels, scores = [piece.label for piece in corpus.pieces], [piece.score for piece in corpus.pieces]
    title, kept_notes = f"{experiment.name} on {corpus.name}", experiment.raw["representation"].get("num_notes")
    latent_map = map_latents(np.stack([posterior.mean.mean(axis=0) for posterior in posteriors]), experiment.seed)
    held_out = np.isin(np.arange(len(labels)), split.held_out).tolist()
    figures = {
        "corpus": plots.plot_histograms(scores, kept_notes, corpus.name),
        "losses": plots.plot_losses(logging.read_log(folder), constant_losses(results), title),
        "latents": plots.plot_latent_map(latent_map, labels, held_out, f"{title}: posterior means"),
        "elbow": plots.plot_elbow(latent_map),
        "dendrogram": plots.plot_dendrogram(latent_map, labels),
    }
    for name, figure in figures.items():
        plots.save(figure, folder.plots / f"{name}.png")

    names = files.safe_names(labels)
    chosen = sorted({0, *split.held_out})
    rows = [(names[n], labels[n], reconstructions[n]) for n in chosen]
    write_reconstructions(folder.reconstructions, experiment.representation, rows)
    for n in [n for n in split.train if n not in chosen][:200]:
        _write_midi_and_plot(folder.training_reconstructions, names[n], _pair(names[n], reconstructions[n]))
    for kind in (PRIOR, POSTERIOR):
        density = load_density(kind, folder.latents)
        scores = sample_scores(inference, density, experiment.sample.num, experiment.sample.seed)
        write_scores(folder.samples, kind, scores, experiment.representation)


def constant_losses(results: Json) -> dict[str, float]:
    """Returns the losses of the best constant prediction by their names in a legend, where they were computed."""
    names = {"training": "best constant, training", "held_out": "best constant, held-out"}
    losses = {name: results.get(subset, {}).get("baseline_mean_loss") for subset, name in names.items()}
    return {name: loss for name, loss in losses.items() if loss is not None}


def write_reconstructions(
    folder: pathlib.Path,
    representation: AnyRepresentation,
    pieces: Iterable[tuple[str, str, Reconstruction]],
    with_audio: bool = False,
) -> None:
    """Writes pieces (file name, label, reconstruction) as MIDI, the original too, with one plot of both."""
    for name, label, one in pieces:
        figure = plots.plot_reconstruction(one.original, one.score, label, as_roll=representation.grid is not None)
        _write_midi_and_plot(folder, name, _pair(name, one), figure)
        if with_audio:
            write_audio(folder, _pair(name, one))


def write_scores(
    folder: pathlib.Path,
    kind: str,
    scores: Sequence[Score],
    representation: AnyRepresentation | None = None,
    with_audio: bool = False,
) -> None:
    """Writes each piece as `<kind>_<number>.mid`, with a plot, a roll unless the representation has no grid."""
    for n, score in enumerate(scores):
        name = f"{kind}_{n:03d}"
        figure = plots.plot_score(score, name, as_roll=representation is None or representation.grid is not None)
        _write_midi_and_plot(folder, name, {name: score}, figure)
        if with_audio:
            write_audio(folder, {name: score})


def write_interpolation(folder: pathlib.Path, scores: Sequence[Score], start: str, end: str) -> None:
    """Writes the points of an interpolation as `step_<number>.mid`, with one plot of all."""
    last = len(scores) - 1
    titles = [start, *(f"{100 * n // last}%" for n in range(1, last)), end]
    steps = {f"step_{n:02d}": score for n, score in enumerate(scores)}
    _write_midi_and_plot(folder, "interpolation", steps, plots.plot_roll_row(scores, titles))


def write_audio(folder: pathlib.Path, scores: Mapping[str, Score]) -> None:
    """Writes each score as `<name>.wav`; a warning names one that is too long."""
    for name, score in scores.items():
        path = folder / f"{name}.wav"
        try:
            with files.replacing(path) as temporary:
                audio.save(score, temporary)
        except audio.AudioError as error:
            print(f"warning: {files.printable(str(path))}: not written ({error})", file=sys.stderr)


def pair_paths(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
    """Returns the paths of an original and of its reconstruction in a folder."""
    return [folder / f"{name}.{kind}.mid" for kind in ("original", "reconstruction")]


def _pair(name: str, one: Reconstruction) -> dict[str, Score]:
    return {f"{name}.original": one.original, f"{name}.reconstruction": one.score}


def _write_midi_and_plot(
    folder: pathlib.Path, name: str, scores: Mapping[str, Score], figure: Figure | None = None
) -> None:
    """Writes each score as MIDI under its own name, and a figure where there is one under `name`."""
    for stem, score in scores.items():
        files.write_bytes(folder / f"{stem}.mid", midi.write_midi(score))
    if figure is not None:
        plots.save(figure, folder / f"{name}.png")
