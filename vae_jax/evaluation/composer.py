"""The evaluation of a composer: many pieces composed and scored, beside the Gaussian chain; attributes measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from vae_jax.composer import attributes, generate, requests
from vae_jax.composer.attributes import Directions
from vae_jax.composer.generate import Composition
from vae_jax.composer.stage import TrainedComposer
from vae_jax.data.corpus import Corpus, Split
from vae_jax.evaluation import gaussian_ar1, generation
from vae_jax.music.score import Score
from vae_jax.representations import arrays as arrays_lib
from vae_jax.runtime.errors import UserError
from vae_jax.training.run_dir import RunFolder

CHAIN = "gaussian_chain"


def score_composer(
    composer: TrainedComposer, corpus: Corpus, split: Split, folder: RunFolder, num: int, seed: int
) -> tuple[dict[str, Any], list[Composition]]:
    """Composes pieces as long as the training pieces and in their meters, and scores them and the Gaussian chain's.

    Args:
      composer: the trained composer.
      corpus: the run's corpus.
      split: its split.
      folder: the run's folder, which holds the latents of the corpus.
      num: how many pieces.
      seed: of composing and of resampling.

    Returns:
      What `composition_scores.score_compositions` gives for the composed pieces, with their "seed" and, under
      "gaussian_chain", the same for as many pieces of the chain; and the composed pieces.
    """
    sampled = [requests.sample_request(composer, np.random.default_rng([seed, n])) for n in range(num)]
    pieces = generate.generate_pieces(composer, sampled, jax.random.key(seed))
    chain = gaussian_ar1.fit_chain([latents for latents, training in read_latents(folder) if training])
    rng = np.random.default_rng([seed, num])
    chain_scores = [
        composer.inference.decode_score(chain.sample(rng.standard_normal(piece.latents.shape), 1.0)) for piece in pieces
    ]
    results = _scores(corpus, split, [piece.score for piece in pieces], seed)
    results[CHAIN] = _scores(corpus, split, chain_scores, seed)
    return {"seed": seed} | results, pieces


def fit_attributes(
    composer: TrainedComposer, corpus: Corpus, split: Split, folder: RunFolder, seed: int
) -> tuple[Directions, dict[str, Any] | None]:
    """Fits the directions of attributes on training windows and measures their effect on held-out ones."""
    sequences = read_latents(folder)
    representation = composer.stage.representation

    def decode(z: np.ndarray) -> attributes.Attributes:
        windows = composer.inference.decode(z)
        return attributes.window_attributes(windows, representation.min_pitch, representation.window_beats)

    windows = arrays_lib.concatenate([representation.encode(corpus.pieces[n].score).arrays for n in split.train])
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
      UserError: where the run has not been evaluated yet.
    """
    if not folder.latents.exists():
        raise UserError(f"{folder.path}: no {folder.latents.name} yet; let run.py finish")
    with np.load(folder.latents, allow_pickle=False) as arrays:
        piece, mean, is_training = arrays["piece"], arrays["mean"], arrays["is_training"]
    ends = np.searchsorted(piece, np.arange(piece.max(initial=-1) + 1), side="right")
    return [
        (mean[end - count : end], bool(count and is_training[end - 1]))
        for end, count in zip(ends, np.diff(ends, prepend=0), strict=True)
    ]


def summarise(results: Mapping[str, Any]) -> str:
    """Shows the scores of the composed pieces, then how the Gaussian chain does, then the attributes, as text."""
    composed = results["composed"]
    lines = ["composed pieces", "", generation.summarise_compositions(composed), ""]
    for name, scores in (("composer", composed), ("Gaussian chain", composed[CHAIN])):
        lines.append(f"{name + ':':<16} {_verdict(scores)}")
    effect = results.get("attributes")
    if effect:
        amounts = "".join(f"{amount:>+9g}" for amount in effect["amounts"])
        lines += ["", f"{'attribute moved by (sd), held-out windows':<42}{amounts}{'monotone':>10}"]
        for name, found in effect["effect"].items():
            means = found["means"][name]
            if means:
                lines.append(f"{name:<42}" + "".join(f"{mean:>9.3f}" for mean in means) + f"{found['monotone']:>10.3f}")
    return "\n".join(lines)


def _verdict(scores: Mapping[str, Any]) -> str:
    inside = [feature["mean_inside"] for feature in scores["features"].values()]
    overlaps = [feature["overlap_inside"] for feature in scores["features"].values()]
    told = scores["judge"]
    accuracy = ", ".join(f"{name} {told[name]['balanced_accuracy']:.3f}" for name in ("logistic", "boosting") if told)
    return (
        f"{sum(map(bool, inside))} of {len(inside)} means and {sum(map(bool, overlaps))} of {len(overlaps)} overlaps "
        f"inside real against real; told from real: {accuracy or '-'}"
    )


def _scores(corpus: Corpus, split: Split, composed: Sequence[Score], seed: int) -> dict[str, Any]:
    return generation.score_compositions(
        [corpus.pieces[n].score for n in split.train],
        [corpus.pieces[n].score for n in split.held_out],
        composed,
        training_tunes=[corpus.tune_groups[n] for n in split.train],
        held_out_tunes=[corpus.tune_groups[n] for n in split.held_out],
        seed=seed,
    )
