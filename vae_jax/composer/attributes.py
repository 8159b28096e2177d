"""Directions in latent space that make music denser, higher, more minor or more polyphonic.

Moving along the correlation of real latents with an attribute need not change the attribute of what is decoded
(docs/composition.md), so the directions are fitted to the decoder. Windows are moved by random steps L e, with e
standard normal and C = L L^T the covariance of real latents; a ridge regression fits the change of each decoded
attribute by g e. With the slopes w = L^-T g along the latents, an attribute has the covariance C w with the latents and
w^T C w with itself, and the most probable move under N(0, C) that changes it by one standard deviation sd of real
windows is d = C w sd / (w^T C w). As the decoder is not linear, d is scaled until windows moved by -2 d and +2 d decode
four deviations apart, or as far as the attribute's bounds allow.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from vae_jax.composer.generate import Composition
from vae_jax.composer.stage import TrainedComposer
from vae_jax.composer.windows import NoteLists
from vae_jax.models import latents
from vae_jax.music.instruments import DRUMS
from vae_jax.music.score import Score
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.pianoroll.config import PART, PITCH, STEP
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.npz import read_npz, write_npz

DENSITY, REGISTER, MODE, POLYPHONY = ATTRIBUTES = ("density", "register", "mode", "polyphony")
AMOUNTS = (-2.0, -1.0, 0.0, 1.0, 2.0)
MAX_AMOUNT = 10.0
Attributes = Mapping[str, np.ndarray]  # {name: [W]}.
DecodeAttributes = Callable[[np.ndarray], Attributes]  # From latents [W, Z].

_BOUNDS = {DENSITY: (0.0, math.inf), MODE: (0.0, 1.0), POLYPHONY: (1.0, math.inf)}
_MINOR, _MAJOR = (3, 8, 10), (4, 9, 11)  # Third, sixth and seventh above the tonic, in semitones.
_PENALTIES = np.logspace(0, 6, 13)
_CALIBRATION_WINDOWS = 256
_CALIBRATION_AMOUNT = 2.0
_MAX_SCALING, _NUM_HALVINGS = 4.0, 8


@dataclasses.dataclass(frozen=True, eq=False)
class Directions:
    """The linear model of A attributes of real windows, and how far to move along it."""

    names: tuple[str, ...]
    latent_covariance: np.ndarray  # [A, Z], C w: of each attribute with the latents.
    covariance: np.ndarray  # [A, A], w_i^T C w_j: of the attributes.
    deviation: np.ndarray  # [A], standard deviation measured over real windows.
    scale: np.ndarray  # [A], the change in the linear model that an amount of 1 asks for.


def window_attributes(lists: NoteLists, min_pitch: int, window_beats: int = 8) -> dict[str, np.ndarray]:
    """Measures the attributes of W windows, {name: float64 [W]}.

    "density" is the notes a beat; "register" their mean MIDI pitch, in the roll's transposition (index 0 is
    `min_pitch`); "mode" the share of minor ones among the thirds, sixths and sevenths above C, to which the roll is
    transposed; "polyphony" the notes a step at which any starts. Drums are ignored; notes of one step and pitch count
    once. A value is nan where it would be a mean over nothing.
    """
    notes, mask = np.asarray(lists.notes).astype(np.int64), np.asarray(lists.mask)
    is_used = mask & (notes[..., PART] != DRUMS)
    num_windows, used = len(mask), notes[is_used]
    rows = np.stack([np.nonzero(is_used)[0], used[:, STEP], used[:, PITCH] + min_pitch], axis=1)
    window, _, pitch = np.unique(rows, axis=0).T
    onsets = np.unique(rows[:, :2], axis=0)[:, 0]
    count = np.bincount(window, minlength=num_windows)
    minor, major = (
        np.bincount(window[np.isin(pitch % 12, classes)], minlength=num_windows) for classes in (_MINOR, _MAJOR)
    )
    ratios = {
        DENSITY: (count, np.where(count > 0, window_beats, 0)),
        REGISTER: (np.bincount(window, pitch, minlength=num_windows), count),
        MODE: (minor, minor + major),
        POLYPHONY: (count, np.bincount(onsets, minlength=num_windows)),
    }
    return {name: total / np.where(number > 0, number, np.nan) for name, (total, number) in ratios.items()}


def fit_directions(
    means: np.ndarray, values: Attributes, decode: DecodeAttributes, *, seed: int, num_probes: int = 8192
) -> Directions:
    """Fits the direction of each attribute: see the head of this module.

    The change of an attribute is half the difference between moving a window by a step and by its opposite, so that
    even powers of the step cancel. An attribute that never changes gets the direction zero.

    Args:
      means: [N, Z], posterior means of training windows, N at least 2.
      values: their attributes, nan where a window has none.
      decode: gives the attributes of decoded latents.
      seed: of the choice of windows and steps.
      num_probes: number of random steps.
    """
    rng = np.random.default_rng(seed)
    factor = latents.fit_density(means).factor
    noise = rng.standard_normal((num_probes, means.shape[1]))
    start, step = means[rng.integers(len(means), size=num_probes)], noise @ factor.T
    changes = _half_differences(decode, start, step)
    gradients = np.stack([_ridge_slopes(noise, changes[name]) for name in values])
    deviation = np.array([_finite(value).std() for value in values.values()])
    fit = Directions(
        names=tuple(values),
        latent_covariance=gradients @ factor.T,
        covariance=gradients @ gradients.T,
        deviation=deviation,
        scale=deviation,
    )
    some = arrays_lib.subsample({"z": means, **values}, _CALIBRATION_WINDOWS)
    scaling = np.array([_scaling(name, fit, some["z"], some[name], decode) for name in fit.names])
    return dataclasses.replace(fit, scale=deviation * scaling)


def move(z: np.ndarray, directions: Directions, amounts: Mapping[str, float]) -> np.ndarray:
    """Moves latents [W, Z] so that attributes change by so many standard deviations of real windows.

    Among the moves that reach all amounts in the linear model this is the most probable one, so that attributes do not
    cancel each other: latent_covariance^T covariance^-1 (scale * amounts) over the attributes named. An amount of 0
    keeps an attribute that would change along with the others; one that is not named is free.
    """
    chosen = [directions.names.index(name) for name in amounts]
    if not chosen:
        return np.array(z)
    wanted = directions.scale[chosen] * np.array(list(amounts.values()))
    # Least squares, because an attribute that never changes leaves a row of zeros.
    weights = np.linalg.lstsq(directions.covariance[np.ix_(chosen, chosen)], wanted, rcond=None)[0]
    return z + weights @ directions.latent_covariance[chosen]


def move_attributes(
    composer: TrainedComposer, piece: Composition, directions: Directions, amounts: Mapping[str, float]
) -> Score:
    """Decodes the latents of a composed piece after moving them along attributes."""
    return composer.inference.decode_score(move(piece.latents, directions, amounts), piece.roll.context)


def parse_attribute(text: str) -> tuple[str, float]:
    """Reads "density:+1.5" as ("density", 1.5). Raises UserError for an unknown name, or an amount that is no number
    from -10 to 10."""
    name, colon, amount = text.partition(":")
    if name not in ATTRIBUTES or not colon:
        raise UserError(f"{text!r}: an attribute is written NAME:AMOUNT, the name one of {', '.join(ATTRIBUTES)}")
    try:
        value = float(amount)
    except ValueError:
        value = math.nan
    if not abs(value) <= MAX_AMOUNT:
        raise UserError(f"{text!r}: the amount must be a number from {-MAX_AMOUNT:g} to {MAX_AMOUNT:g}")
    return name, value


def save(path: pathlib.Path, directions: Directions) -> None:
    """Writes directions as a NumPy archive with an array for each field."""
    arrays = {field.name: np.asarray(getattr(directions, field.name)) for field in dataclasses.fields(directions)}
    write_npz(path, **arrays)


def load(path: pathlib.Path, latent_dim: int) -> Directions:
    """Reads directions. Raises UserError where the file cannot be read, is damaged, or belongs to latents of another
    size."""
    arrays = read_npz(path, [field.name for field in dataclasses.fields(Directions)])
    names = tuple(map(str, arrays.pop("names").ravel()))
    shapes = [(len(names), latent_dim), (len(names), len(names)), (len(names),), (len(names),)]
    fits = [array.dtype == np.float64 and np.isfinite(array).all() for array in arrays.values()]
    if not set(names) <= set(ATTRIBUTES) or not all(fits) or [array.shape for array in arrays.values()] != shapes:
        raise UserError(f"{path}: not a file of attributes for {latent_dim} latents")
    return Directions(names, **arrays)


def measure_effect(z: np.ndarray, directions: Directions, decode: DecodeAttributes) -> dict[str, object]:
    """Measures what moves along each direction do to windows with latents [W, Z], preferably held-out ones.

    Returns:
      For JSON, "windows", their number; "amounts"; "deviation", {name: sd}; and "effect", for each attribute moved its
      "means", {name: mean at each amount} for every attribute, over the windows that have a value at all amounts;
      "monotone", the share of these windows in which it never falls and ends higher than it starts; and
      "rank_correlation", Spearman's between amount and attribute within a window (0 for one that does not change),
      averaged over these windows. None stands for a value over no windows.
    """
    effect = {}
    for moved in directions.names:
        decoded = [decode(move(z, directions, {moved: amount})) for amount in AMOUNTS]
        tables = {name: np.stack([values[name] for values in decoded]) for name in directions.names}
        tables = {name: table[:, np.all(np.isfinite(table), axis=0)] for name, table in tables.items()}
        own = tables[moved]
        monotone = np.all(np.diff(own, axis=0) >= 0, axis=0) & (own[-1] > own[0])
        effect[moved] = {
            "means": {name: table.mean(axis=1).tolist() if table.size else None for name, table in tables.items()},
            "monotone": float(monotone.mean()) if own.size else None,
            "rank_correlation": float(_rank_correlations(own).mean()) if own.size else None,
        }
    return {
        "windows": len(z),
        "amounts": list(AMOUNTS),
        "deviation": dict(zip(directions.names, directions.deviation.tolist(), strict=True)),
        "effect": effect,
    }


def _finite(values: np.ndarray) -> np.ndarray:
    """The finite values; a single 0 where there are none."""
    finite = values[np.isfinite(values)]
    return finite if len(finite) else np.zeros(1)


def _half_differences(decode: DecodeAttributes, z: np.ndarray, step: np.ndarray) -> dict[str, np.ndarray]:
    up, down = decode(z + step), decode(z - step)
    return {name: (up[name] - down[name]) / 2 for name in up}


def _ridge_slopes(noise: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Fits the slopes g [Z] of a change [M] along noise [M, Z]; the penalty by leave-one-out cross-validation."""
    import sklearn.linear_model

    known = np.isfinite(change)
    if np.count_nonzero(known) < 2 or not np.any(change[known]):
        return np.zeros(noise.shape[1])
    ridge = sklearn.linear_model.RidgeCV(alphas=_PENALTIES, fit_intercept=False)
    return ridge.fit(noise[known], change[known]).coef_


def _scaling(name: str, directions: Directions, z: np.ndarray, values: np.ndarray, decode: DecodeAttributes) -> float:
    """Finds, by bisection of its logarithm, the factor on the linear model's move of windows z with an attribute's
    values [W] at which they decode as far apart as is asked for."""
    step = move(np.zeros((1, z.shape[1])), directions, {name: _CALIBRATION_AMOUNT})
    if not np.any(step):
        return 1.0
    far = _CALIBRATION_AMOUNT * directions.deviation[directions.names.index(name)]
    bounds = _BOUNDS.get(name, (-math.inf, math.inf))
    wanted = _finite(np.clip(values + far, *bounds) - np.clip(values - far, *bounds)).mean() / 2
    low, high = -math.log(_MAX_SCALING), math.log(_MAX_SCALING)
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        change = _finite(_half_differences(decode, z, math.exp(middle) * step)[name]).mean()
        low, high = (middle, high) if change < wanted else (low, middle)
    return math.exp((low + high) / 2)


def _rank_correlations(table: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each column of [K, W] with 1..K, [W]; 0 for a column that does not change."""
    import scipy.stats

    ranks = scipy.stats.rankdata(table, axis=0) - (len(table) + 1) / 2
    order = (np.arange(len(table)) - (len(table) - 1) / 2)[:, None]
    size = np.sqrt((ranks**2).sum(axis=0) * (order**2).sum())
    return (ranks * order).sum(axis=0) / np.where(size > 0, size, 1.0)
