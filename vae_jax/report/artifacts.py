"""What a run leaves to look at and to listen to, written after training."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from vae_jax.composer import attributes
from vae_jax.composer.stage import TrainedComposer
from vae_jax.data.corpus import Corpus, Split
from vae_jax.evaluation import composer as composer_lib
from vae_jax.models.inference import Inference, Reconstruction
from vae_jax.models.latent_io import load_density
from vae_jax.models.latents import POSTERIOR, PRIOR, sample_scores
from vae_jax.music import midi
from vae_jax.music.score import Score
from vae_jax.report import latent_map as latent_map_lib
from vae_jax.report import plots
from vae_jax.representations.base import Representation
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.runtime import files
from vae_jax.training import logging
from vae_jax.training.experiment import Experiment
from vae_jax.training.run_dir import RunFolder

_MAX_TRAINING = 200  # Training pieces whose reconstructions are kept: of a large corpus not all are listened to.


def write_latents(folder: RunFolder, split: Split, reconstructions: Sequence[Reconstruction]) -> None:
    """Saves the posterior of every example: "mean" and "log_var" [N, Z], "piece" [N] and "is_training" [N]."""
    posteriors = [one.posterior for one in reconstructions]
    piece = np.repeat(np.arange(len(posteriors)), [len(posterior.mean) for posterior in posteriors])
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        mean=np.concatenate([posterior.mean for posterior in posteriors]),
        log_var=np.concatenate([posterior.log_var for posterior in posteriors]),
        piece=piece,
        is_training=np.isin(piece, split.train),
    )
    files.write_bytes(folder.latents, buffer.getvalue())


def write_pictures(
    folder: RunFolder,
    experiment: Experiment,
    corpus: Corpus,
    split: Split,
    reconstructions: Sequence[Reconstruction],
    results: dict[str, Any],
) -> None:
    """Draws the corpus, the learning curves, and the latents with their clusters, elbow curve and dendrogram."""
    scores = [piece.score for piece in corpus.pieces]
    labels = [piece.label for piece in corpus.pieces]
    kept_notes = experiment.raw["representation"].get("num_notes")
    plots.save(plots.plot_histograms(scores, kept_notes, corpus.name), folder.plots / "corpus.png")

    constants = {
        f"best constant, {part.replace('_', '-')}": results[part]["baseline_mean_loss"]
        for part in ("training", "held_out")
        if "baseline_mean_loss" in results.get(part, {})
    }
    title = f"{experiment.name} on {corpus.name}"
    plots.save(plots.plot_losses(logging.read_log(folder), constants, title), folder.plots / "losses.png")

    means = np.stack([one.posterior.mean.mean(axis=0) for one in reconstructions])
    latent_map = latent_map_lib.map_latents(means, experiment.seed)
    held_out = [n in set(split.held_out) for n in range(len(labels))]
    plots.save(
        plots.plot_latent_map(latent_map, labels, held_out, f"{title}: posterior means"), folder.plots / "latents.png"
    )
    plots.save(plots.plot_elbow(latent_map), folder.plots / "elbow.png")
    plots.save(plots.plot_dendrogram(latent_map, labels), folder.plots / "dendrogram.png")


def write_music(
    folder: RunFolder,
    experiment: Experiment,
    corpus: Corpus,
    split: Split,
    reconstructions: Sequence[Reconstruction],
    inference: Inference,
) -> None:
    """Writes reconstructions of the first piece (the post's) and of all held-out pieces, and samples.

    The reconstructions of training pieces follow as MIDI alone, of the first 200.
    """
    shown = sorted({0, *split.held_out})
    labels = [piece.label for piece in corpus.pieces]
    names = files.safe_names(labels)
    representation = experiment.representation
    write_reconstructions(
        folder.reconstructions,
        representation,
        [names[n] for n in shown],
        [labels[n] for n in shown],
        [reconstructions[n] for n in shown],
    )
    for n in [n for n in split.train if n not in shown][:_MAX_TRAINING]:
        write_pair(folder.training_reconstructions, names[n], reconstructions[n])
    config = experiment.sample
    for kind in (PRIOR, POSTERIOR):
        density = load_density(kind, folder.latents, inference.latent_dim)
        scores = sample_scores(inference, density, config.num, config.seed)
        write_samples(folder.samples, representation, scores, kind)


def write_compositions(
    folder: RunFolder, experiment: Experiment, composer: TrainedComposer, corpus: Corpus, split: Split
) -> dict[str, dict[str, Any] | None]:
    """Composes and scores, fits the attributes, writes some pieces and the directions; returns the scores of both."""
    num, seed = experiment.sample.num, experiment.sample.seed
    composed, pieces = composer_lib.score_composer(
        composer, corpus, split, folder, composer.stage.config.num_scored, seed
    )
    write_composed_scores(folder.compositions, [piece.score for piece in pieces[:num]])
    directions, effect = composer_lib.fit_attributes(composer, corpus, split, folder, seed)
    attributes.save(folder.attributes, directions)
    return {"composed": composed, "attributes": effect}


def write_reconstructions(
    folder: pathlib.Path,
    representation: Representation,
    names: Sequence[str],
    labels: Sequence[str],
    reconstructions: Sequence[Reconstruction],
) -> None:
    """Writes each original and its reconstruction as MIDI, and both in one picture, under a file name for each."""
    draw = plots.plot_rolls if isinstance(representation, RollRepresentation) else plots.plot_lines
    for name, label, one in zip(names, labels, reconstructions, strict=True):
        write_pair(folder, name, one)
        plots.save(draw(one.original, one.score, label), folder / f"{name}.png")


def write_pair(folder: pathlib.Path, name: str, one: Reconstruction) -> None:
    """Writes an original and its reconstruction as MIDI."""
    for path, score in zip(pair_paths(folder, name), (one.original, one.score), strict=True):
        files.write_bytes(path, midi.write_midi(score))


def pair_paths(folder: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path]:
    """Paths of an original and of its reconstruction in a folder."""
    return folder / f"{name}.original.mid", folder / f"{name}.reconstruction.mid"


def write_samples(folder: pathlib.Path, representation: Representation, scores: Sequence[Score], name: str) -> None:
    """Writes each piece as MIDI and as a picture."""
    on_grid = isinstance(representation, RollRepresentation)
    for n, score in enumerate(scores):
        title = f"{name}_{n:03d}"
        files.write_bytes(folder / f"{title}.mid", midi.write_midi(score))
        picture = plots.plot_roll_row([score], [title]) if on_grid else plots.plot_score_lines(score, title)
        plots.save(picture, folder / f"{title}.png")


def write_composed_scores(folder: pathlib.Path, scores: Sequence[Score]) -> None:
    """Writes each piece as MIDI and as a picture of its roll."""
    for n, score in enumerate(scores):
        title = f"composition_{n:03d}"
        files.write_bytes(folder / f"{title}.mid", midi.write_midi(score))
        plots.save(plots.plot_roll(score, title), folder / f"{title}.png")
