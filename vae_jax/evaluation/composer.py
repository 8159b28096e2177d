"""Evaluation of a composer: composed pieces scored beside samples of the first stage's prior; attributes measured."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vae_jax.composer import attributes, generate, requests
from vae_jax.composer.attributes import ATTRIBUTES
from vae_jax.composer.stage import TrainedComposer
from vae_jax.data.corpus import Corpus
from vae_jax.data.splits import Split
from vae_jax.evaluation import generation, two_sample
from vae_jax.evaluation.bots import BOTS
from vae_jax.evaluation.pieces import make_piece_set
from vae_jax.evaluation.tables import Cell, format_table
from vae_jax.models.inference import Inference
from vae_jax.models.latents import sample_scores
from vae_jax.music.key import Tonic
from vae_jax.music.score import Score
from vae_jax.runtime.files import Json

BASELINE = "vae_prior"
AMOUNTS = (-2.0, -1.0, 0.0, 1.0, 2.0)
_ATTRIBUTE_PIECES, _ATTRIBUTE_BARS = 15, 16  # With all moves four full batches.


def score_composer(
    composer: TrainedComposer,
    inference: Inference,
    corpus: Corpus,
    split: Split,
    num: int,
    seed: int,
    *,
    with_bots: bool = False,
) -> tuple[Json, list[Score]]:
    """Composes `num` pieces as long as the training pieces and in their meters, and scores them and the baseline's.

    Returns the scores, `composed` in docs/metrics.md, and the composed pieces; the seed is that of composing, of
    resampling and of the bots, which are made of one piece of each tune. The baseline is the prior of the first stage.
    """
    pieces = generate.compose(composer, num, seed)
    sampled = sample_scores(inference, None, num, seed)
    scores, tunes = [piece.score for piece in corpus.pieces], corpus.tune_groups
    training, held_out = (
        make_piece_set([scores[n] for n in index], [tunes[n] for n in index]) for index in (split.train, split.held_out)
    )
    firsts = {tunes[n]: scores[n] for n in sorted([*split.train, *split.held_out], reverse=True)} if with_bots else {}
    bots = {name: make_piece_set(make([*firsts.values()], seed), [*firsts]) for name, make in BOTS.items() if firsts}
    results = generation.score_compositions(training, held_out, make_piece_set(pieces), seed, bots)
    references = make_piece_set(sampled)
    baseline = generation.score_statistics(training, held_out, references, seed)
    tests = two_sample.compare(training.join(held_out), references, seed, views=("all",))
    baseline["two_sample"] = None if tests is None else dataclasses.asdict(tests)
    return {"seed": seed} | results | {BASELINE: baseline}, pieces


def measure_attributes(composer: TrainedComposer, seed: int) -> Json:
    """Measures what moving each attribute does to composed pieces, all else equal.

    Returns:
      For JSON, "pieces", their number; "amounts"; and "effect", for each attribute moved its "means", {name: mean at
      each amount} for every attribute, over the pieces that have a value at all amounts; "monotone", whether the mean
      of the attribute itself never falls and ends higher than it starts; and "rank_correlation", Spearman's between
      amount and attribute within a piece, averaged (0 for one that does not change). None for a value over no pieces.
    """
    num = min(_ATTRIBUTE_PIECES, composer.stage.config.num_scored)
    rngs = [np.random.default_rng([seed, n]) for n in range(num)]
    asked = [requests.sample_request(composer, rng, num_bars=_ATTRIBUTE_BARS) for rng in rngs]
    asked = [dataclasses.replace(one, number=n) for n, one in enumerate(asked)]  # All else is drawn alike.
    tonics = [one.conditions.pitch_class for one in asked]

    moves = [{}, *({name: amount} for name in ATTRIBUTES for amount in AMOUNTS if amount)]
    moved = [attributes.move(composer, one, move) for move in moves for one in asked]
    measured = _measure(generate.generate_pieces(composer, moved, seed), tonics * len(moves))
    still, *others = measured.reshape(len(moves), len(asked), len(ATTRIBUTES))
    remaining = iter(others)
    effect = {}
    for moved_name in ATTRIBUTES:
        tables = np.stack([next(remaining) if amount else still for amount in AMOUNTS])
        known = np.isfinite(tables).all(axis=(0, 2))
        means = dict(zip(ATTRIBUTES, tables[:, known].mean(axis=1).T.tolist(), strict=True)) if known.any() else None
        own = tables[:, known, ATTRIBUTES.index(moved_name)]
        curve = own.mean(axis=1) if own.size else np.zeros(0)
        effect[moved_name] = {
            "means": means or dict.fromkeys(ATTRIBUTES),
            "monotone": bool((np.diff(curve) >= 0).all() and curve[-1] > curve[0]) if own.size else None,
            "rank_correlation": float(_rank_correlations(own).mean()) if own.size else None,
        }
    return {"pieces": len(asked), "amounts": list(AMOUNTS), "effect": effect}


def _measure(scores: Sequence[Score], pitch_classes: Sequence[int]) -> np.ndarray:
    """The attributes of pieces whose tonics are known, [pieces, attributes]."""
    rows = [
        attributes.measure(score, Tonic(pitch_class, False, 1.0))
        for score, pitch_class in zip(scores, pitch_classes, strict=True)
    ]
    return np.array([[row[name] for name in ATTRIBUTES] for row in rows])


def _rank_correlations(table: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each column of [K, W] with 1..K, [W]; 0 for a column that does not change."""
    import scipy.stats

    ranks = scipy.stats.rankdata(table, axis=0) - (len(table) + 1) / 2
    order = (np.arange(len(table)) - (len(table) - 1) / 2)[:, None]
    size = np.sqrt((ranks**2).sum(axis=0) * (order**2).sum())
    return (ranks * order).sum(axis=0) / np.where(size > 0, size, 1.0)


def summarise(results: Json) -> str:
    """Formats the scores of the composed pieces, the main ones of the baseline, and the attributes, as text."""
    composed = results["composed"]
    text = f"composed pieces\n\n{generation.summarise_compositions(composed)}\n\n"
    baseline = composed[BASELINE]
    rows: list[Sequence[Cell]] = [
        _main_scores("composer", composed, composed["two_sample"].get("composed")),
        _main_scores("prior of the VAE", baseline, baseline["two_sample"]),
    ]
    text += format_table(rows, (16, 0))
    if not (effect := results.get("attributes")):
        return text
    amounts = [f"{amount:+g}" for amount in effect["amounts"]]
    rows = [("attribute moved by (sd), composed pieces", *amounts, "monotone")]
    for name, found in effect["effect"].items():
        if means := found["means"][name]:
            rows.append((name, *(f"{mean:.3f}" for mean in means), "yes" if found["monotone"] else "no"))
    return f"{text}\n\n{format_table(rows, (42, *[9] * len(amounts), 10))}"


def _main_scores(name: str, scores: Json, tests: Json | None) -> tuple[str, str]:
    features, found = scores["features"].values(), scores["musicology"]
    means, overlaps = (sum(bool(one[inside]) for one in features) for inside in ("mean_inside", "overlap_inside"))
    accuracy = "-"
    if tests is not None:
        everything = tests["views"]["all"]
        accuracy = ", ".join(f"{kind} {everything[kind]['balanced_accuracy']:.3f}" for kind in two_sample.CLASSIFIERS)
    return f"{name}:", (
        f" musicology {found['inside']} of {found['of']}, {means} of {len(features)} means and {overlaps} of "
        f"{len(features)} overlaps inside real against real; accuracy: {accuracy}"
    )
