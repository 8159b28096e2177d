"""Evaluation of a composer: composed pieces scored beside those of a Gaussian AR(1) baseline; attributes measured."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import numpy as np

from vae_jax.composer import attributes, generate, requests
from vae_jax.composer.attributes import Directions
from vae_jax.composer.generate import Composition
from vae_jax.composer.stage import TrainedComposer
from vae_jax.data.corpus import Corpus
from vae_jax.data.splits import Split
from vae_jax.evaluation import Metrics, generation
from vae_jax.evaluation.bar_grid import make_piece_set
from vae_jax.evaluation.gaussian_ar1 import fit_gaussian_ar1
from vae_jax.evaluation.tables import Cell, format_table
from vae_jax.representations import arrays as arrays_lib
from vae_jax.runtime import npz
from vae_jax.runtime.errors import UserError
from vae_jax.training.run_dir import RunFolder

BASELINE = "gaussian_ar1"


def score_composer(
    composer: TrainedComposer, corpus: Corpus, split: Split, folder: RunFolder, num: int, seed: int
) -> tuple[Metrics, list[Composition]]:
    """Composes `num` pieces as long as the training pieces and in their meters, and scores them and the baseline's.

    Returns:
      What `generation.score_compositions` gives for the composed pieces, with their "seed" (of composing and of
      resampling) and, under "gaussian_ar1", the same for as many pieces of the baseline; and the composed pieces.
    """
    wanted = [requests.sample_request(composer, np.random.default_rng([seed, n])) for n in range(num)]
    pieces = generate.generate_pieces(composer, wanted, jax.random.key(seed))
    baseline = fit_gaussian_ar1([latents for latents, is_training in read_latents(folder) if is_training])
    rng = np.random.default_rng([seed, num])
    noise = [rng.standard_normal(piece.latents.shape) for piece in pieces]
    sampled = [composer.inference.decode_score(baseline.sample(one, temperature=1.0)) for one in noise]
    training, held_out = (
        make_piece_set([corpus.pieces[n].score for n in index], [corpus.tune_groups[n] for n in index])
        for index in (split.train, split.held_out)
    )
    results, baseline_results = (
        generation.score_compositions(training, held_out, make_piece_set(scores), seed)
        for scores in ([piece.score for piece in pieces], sampled)
    )
    return {"seed": seed} | results | {BASELINE: baseline_results}, pieces


def fit_attributes(
    composer: TrainedComposer, corpus: Corpus, split: Split, folder: RunFolder, seed: int
) -> tuple[Directions, Metrics | None]:
    """Fits the directions of attributes on training windows and measures their effect on held-out ones."""
    sequences = read_latents(folder)
    representation = composer.stage.representation

    def decode(z: np.ndarray) -> attributes.Attributes:
        lists = composer.inference.decode(z)
        return attributes.window_attributes(lists, representation.min_pitch, representation.window_beats)

    windows = arrays_lib.concatenate([representation.encode(corpus.pieces[n].score).examples for n in split.train])
    values = attributes.window_attributes(windows, representation.min_pitch, representation.window_beats)
    training = np.concatenate([sequences[n][0] for n in split.train])
    directions = attributes.fit_directions(training, values, decode, seed=seed)
    if not split.held_out:
        return directions, None
    held_out = np.concatenate([sequences[n][0] for n in split.held_out])
    return directions, attributes.measure_effect(held_out, directions, decode)


def read_latents(folder: RunFolder) -> list[tuple[np.ndarray, bool]]:
    """Reads the posterior means [W, Z] of every piece of a run's corpus, and whether it was trained on.

    Raises:
      UserError: where the run has not been evaluated yet, or the file is damaged.
    """
    if not folder.latents.exists():
        raise UserError(f"{folder.path}: no {folder.latents.name} yet; let run.py finish")
    piece, mean, is_training = npz.read_npz(folder.latents, ("piece", "mean", "is_training")).values()
    bounds = np.searchsorted(piece, np.arange(piece.max(initial=-1) + 2))
    return [(mean[start:end], bool(is_training[start:end].any())) for start, end in itertools.pairwise(bounds)]


def summarise(results: Metrics) -> str:
    """Formats the scores of the composed pieces, the main ones of the baseline, and the attributes, as text."""
    composed = results["composed"]
    text = f"composed pieces\n\n{generation.summarise_compositions(composed)}\n\n"
    text += format_table([_main_scores("composer", composed), _main_scores(BASELINE, composed[BASELINE])], (16, 0))
    if not (effect := results.get("attributes")):
        return text
    amounts = [f"{amount:+g}" for amount in effect["amounts"]]
    rows: list[Sequence[Cell]] = [("attribute moved by (sd), held-out windows", *amounts, "monotone")]
    for name, found in effect["effect"].items():
        if means := found["means"][name]:
            rows.append((name, *(f"{mean:.3f}" for mean in means), f"{found['monotone']:.3f}"))
    return f"{text}\n\n{format_table(rows, (42, *[9] * len(amounts), 10))}"


def _main_scores(name: str, scores: Metrics) -> tuple[str, str]:
    features = scores["features"].values()
    means, overlaps = (sum(bool(found[inside]) for found in features) for inside in ("mean_inside", "overlap_inside"))
    classifiers = (scores["discriminator"] or {}).items()
    accuracy = ", ".join(f"{kind} {found['balanced_accuracy']:.3f}" for kind, found in classifiers)
    return f"{name}:", (
        f" {means} of {len(features)} means and {overlaps} of {len(features)} overlaps inside real against real; "
        f"discriminator accuracy: {accuracy or '-'}"
    )
