"""What a run leaves to look at and to listen to, written after training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vae_jax import latents, loop, plots
from vae_jax.corpus import Corpus, Split
from vae_jax.experiment import Experiment
from vae_jax.inference import Inference, Reconstruction
from vae_jax.reconstruct import write_reconstructions
from vae_jax.runs import RunFolder
from vae_jax.sample import sample_prior, write_samples


def write_pictures(
    folder: RunFolder,
    experiment: Experiment,
    corpus: Corpus,
    split: Split,
    reconstructions: Sequence[Reconstruction],
    results: dict[str, Any],
) -> None:
    """Draws the corpus, the learning curves, and the latents with their clusters, elbow curve and dendrogram."""
    config = experiment.config
    scores = [piece.score for piece in corpus.pieces]
    labels = [piece.label for piece in corpus.pieces]
    plots.save(
        plots.plot_histograms(scores, config["representation"]["num_notes"], corpus.name), folder.plots / "corpus.png"
    )

    constants = {
        f"best constant, {part.replace('_', '-')}": results[part]["baseline_mean_loss"]
        for part in ("training", "held_out")
        if part in results
    }
    title = f"{config['name']} on {corpus.name}"
    plots.save(plots.plot_losses(loop.read_log(folder), constants, title), folder.plots / "losses.png")

    means = np.stack([one.posterior.mean.mean(axis=0) for one in reconstructions])
    latent_map = latents.map_latents(means, config["seed"])
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
    """Writes reconstructions of the first piece (the post's) and of all held-out pieces, and samples from the prior."""
    shown = sorted({0, *split.held_out})
    write_reconstructions(
        folder.reconstructions, [corpus.pieces[n].label for n in shown], [reconstructions[n] for n in shown]
    )
    config = experiment.config["sample"]
    latent_dim = experiment.model.latent_dim
    write_samples(folder.samples, sample_prior(inference, latent_dim, config["num"], config["seed"]))
