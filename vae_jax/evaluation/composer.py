"""Evaluation of a composer: composed pieces scored beside those of a Gaussian AR(1) baseline; attributes measured."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from vae_jax.composer import attributes, generate
from vae_jax.composer.attributes import Directions
from vae_jax.composer.generate import Composition
from vae_jax.composer.stage import TrainedComposer
from vae_jax.composer.windows import NoteLists
from vae_jax.data.corpus import Corpus
from vae_jax.data.splits import Split
from vae_jax.evaluation import generation, two_sample
from vae_jax.evaluation.bots import BOTS
from vae_jax.evaluation.pieces import make_piece_set
from vae_jax.evaluation.tables import Cell, format_table
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.pianoroll import encoding
from vae_jax.runtime import npz
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import Json
from vae_jax.training.run_dir import RunFolder

BASELINE = "gaussian_ar1"


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianAR1:
    """First-order Gaussian autoregression over the latents of a piece, the baseline of the composer.

    The mean of a window depends on its position (first, in between, last), and deviations from it follow those of the
    window before: z_t - m_t = A (z_{t-1} - m_{t-1}) + noise.
    """

    means: np.ndarray  # [3, Z], of first, inner and last windows.
    factor: np.ndarray  # [Z, Z], a lower triangle L with C = L L^T the covariance of any window around its mean.
    transition: np.ndarray  # [Z, Z], A.
    noise_factor: np.ndarray  # [Z, Z], a lower triangle with S = C - A C A^T the covariance of the noise.

    def sample(self, noise: np.ndarray, temperature: float) -> np.ndarray:
        """Turns standard normal noise [num_windows, Z] into the latents of one piece, of the same shape.

        The temperature scales the standard deviations; 0 gives the means.
        """
        deviations = np.zeros(np.shape(noise))
        for t, fresh in enumerate(noise):
            following = self.transition @ deviations[t - 1] + self.noise_factor @ fresh
            deviations[t] = following if t else self.factor @ fresh
        return self.means[_positions(len(deviations))] + temperature * deviations


def fit_gaussian_ar1(sequences: Sequence[np.ndarray]) -> GaussianAR1:
    """Fits the autoregression to the posterior means of whole pieces, [W_i, Z] each, at least one window in all.

    C is the covariance of Ledoit and Wolf (2004) over all windows, around the means of their positions. Along each of
    its principal axes v the correlation of neighbouring windows is r = sum_t (v x_t)(v x_{t-1}) / sum_t ((v x_t)^2 +
    (v x_{t-1})^2) / 2, at most 1 in size: so A = V R V^T keeps C for any number of steps. A free transition, Z^2
    numbers, predicts held-out anthems worse than none at all. A position that no window has takes the mean of all
    windows; where nothing varies, the covariance is 1e-6 in every direction.
    """
    import sklearn.covariance

    pieces = [np.asarray(piece, dtype=np.float64) for piece in sequences if len(piece)]
    windows, positions = np.concatenate(pieces), np.concatenate([_positions(len(piece)) for piece in pieces])
    means = np.stack([windows[positions == n if np.any(positions == n) else ...].mean(axis=0) for n in range(3)])
    deviations = [piece - means[_positions(len(piece))] for piece in pieces]
    covariance = np.zeros((windows.shape[1], windows.shape[1]))
    if len(windows) > 1:
        covariance = sklearn.covariance.LedoitWolf(assume_centered=True).fit(np.concatenate(deviations)).covariance_
    variances, axes = np.linalg.eigh(covariance)
    before = np.concatenate([piece[:-1] for piece in deviations]) @ axes
    after = np.concatenate([piece[1:] for piece in deviations]) @ axes
    size = (before**2 + after**2).sum(axis=0) / 2
    correlations = (before * after).sum(axis=0) / np.where(size > 0, size, 1.0)
    return GaussianAR1(
        means=means,
        factor=_factor((axes * variances) @ axes.T),
        transition=(axes * correlations) @ axes.T,
        noise_factor=_factor((axes * (variances * (1 - correlations**2))) @ axes.T),
    )


def score_composer(
    composer: TrainedComposer,
    corpus: Corpus,
    split: Split,
    folder: RunFolder,
    num: int,
    seed: int,
    *,
    with_bots: bool = False,
) -> tuple[Json, list[Composition]]:
    """Composes `num` pieces as long as the training pieces and in their meters, and scores them and the baseline's.

    Returns the scores, `composed` in docs/metrics.md, and the composed pieces; the seed is that of composing, of
    resampling and of the bots, which are made of one piece of each tune.
    """
    baseline = fit_gaussian_ar1([latents for latents, is_training in read_latents(folder) if is_training])
    pieces = generate.compose(composer, num, seed)
    rng = np.random.default_rng([seed, num])
    first_stage = composer.inference.inference
    noise = [
        rng.standard_normal((piece.latents.size // first_stage.latent_dim, first_stage.latent_dim)) for piece in pieces
    ]
    sampled = first_stage.decode_scores([baseline.sample(one, temperature=1.0) for one in noise])
    scores, tunes = [piece.score for piece in corpus.pieces], corpus.tune_groups
    training, held_out = (
        make_piece_set([scores[n] for n in index], [tunes[n] for n in index]) for index in (split.train, split.held_out)
    )
    firsts = {tunes[n]: scores[n] for n in sorted([*split.train, *split.held_out], reverse=True)} if with_bots else {}
    bots = {name: make_piece_set(make([*firsts.values()], seed), [*firsts]) for name, make in BOTS.items() if firsts}
    composed = make_piece_set([piece.score for piece in pieces])
    results = generation.score_compositions(training, held_out, composed, seed, bots)
    references = make_piece_set(sampled)
    baseline_results = generation.score_statistics(training, held_out, references, seed)
    tests = two_sample.compare(training.join(held_out), references, seed, views=("all",))
    baseline_results["two_sample"] = None if tests is None else dataclasses.asdict(tests)
    return {"seed": seed} | results | {BASELINE: baseline_results}, pieces


def fit_attributes(
    composer: TrainedComposer, corpus: Corpus, split: Split, seed: int
) -> tuple[Directions, Json | None]:
    """Fits the directions of attributes on training windows and measures their effect on held-out ones."""
    roll = composer.stage.representation

    def measure(windows: NoteLists) -> attributes.Attributes:
        return attributes.window_attributes(windows, roll.min_pitch, roll.window_beats)

    def decode(z: np.ndarray) -> attributes.Attributes:
        return measure(composer.inference.decode(z))

    def cut(index: Sequence[int]) -> NoteLists:
        pieces = [encoding.encode(corpus.pieces[n].score, roll) for n in index]
        return arrays_lib.concatenate(
            [roll.encode_at(piece, np.arange(0, max(piece.num_steps, 1), roll.window_steps)) for piece in pieces]
        )

    training = cut(split.train)
    directions = attributes.fit_directions(composer.inference.encode(training), measure(training), decode, seed=seed)
    if not split.held_out:
        return directions, None
    held_out = composer.inference.encode(cut(split.held_out))
    return directions, attributes.measure_effect(held_out, directions, decode)


def read_latents(folder: RunFolder) -> list[tuple[np.ndarray, bool]]:
    """Reads the posterior means [W, Z] of every piece of a run's corpus, and whether it was trained on. Raises
    UserError where the run has not been evaluated yet, or the file is damaged."""
    if not folder.latents.exists():
        raise UserError(f"{folder.path}: no {folder.latents.name} yet; let run.py finish")
    piece, mean, is_training = npz.read_npz(folder.latents, ("piece", "mean", "is_training")).values()
    bounds = np.searchsorted(piece, np.arange(piece.max(initial=-1) + 2))
    return [(mean[start:end], bool(is_training[start:end].any())) for start, end in itertools.pairwise(bounds)]


def summarise(results: Json) -> str:
    """Formats the scores of the composed pieces, the main ones of the baseline, and the attributes, as text."""
    composed = results["composed"]
    text = f"composed pieces\n\n{generation.summarise_compositions(composed)}\n\n"
    baseline = composed[BASELINE]
    rows: list[Sequence[Cell]] = [
        _main_scores("composer", composed, composed["two_sample"].get("composed")),
        _main_scores(BASELINE, baseline, baseline["two_sample"]),
    ]
    text += format_table(rows, (16, 0))
    if not (effect := results.get("attributes")):
        return text
    amounts = [f"{amount:+g}" for amount in effect["amounts"]]
    rows = [("attribute moved by (sd), held-out windows", *amounts, "monotone")]
    for name, found in effect["effect"].items():
        if means := found["means"][name]:
            rows.append((name, *(f"{mean:.3f}" for mean in means), f"{found['monotone']:.3f}"))
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


def _positions(num_windows: int) -> np.ndarray:
    """Whether each window of a piece is the first (0), an inner (1) or the last one (2), [num_windows]."""
    positions = np.full(num_windows, 1)
    positions[-1:] = 2
    positions[:1] = 0
    return positions


def _factor(covariance: np.ndarray) -> np.ndarray:
    return np.linalg.cholesky(covariance + 1e-6 * np.eye(len(covariance)))  # Positive for a collapsed posterior too.
