"""Directions in latent space that make music denser, higher, more minor or thicker.

Latents and attributes of real windows correlate, but along such a correlation a decoder need not move the attribute:
that of note density even lowers the density of decoded anthems (docs/composition.md). So the decoder is asked. Windows
are moved by random steps as large as real windows differ, L e with e standard normal and C = L L^T the covariance of
their latents; the change of each decoded attribute is fitted by g e, a ridge regression. Of all moves that change the
attribute by one standard deviation sd of real windows in this linear model, d = L g sd / |g|^2 is the likeliest under
C. In terms of the slopes w = L^-T g along the latents it reads d = C w sd / (w^T C w): the move stays where real
windows lie. Far moves are not linear, so d is stretched until windows moved by -2 and by +2 decode four deviations
apart, or as far as the attribute's bounds allow.
"""

from __future__ import annotations

import dataclasses
import io
import math
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.composer.generate import Composition
from vae_jax.composer.stage import TrainedComposer
from vae_jax.models import latents
from vae_jax.models.inference import Inference
from vae_jax.music import instruments
from vae_jax.music.score import Score
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.base import Encoded
from vae_jax.representations.pianoroll.context import WindowedContext
from vae_jax.representations.pianoroll.encoding import PART, PITCH, STEP
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.representations.pianoroll.windows import NoteLists
from vae_jax.runtime import files
from vae_jax.runtime.errors import UserError

DENSITY, REGISTER, MODE, POLYPHONY = ATTRIBUTES = ("density", "register", "mode", "polyphony")
AMOUNTS = (-2.0, -1.0, 0.0, 1.0, 2.0)
MAX_AMOUNT = 10.0
DecodeAttributes = Callable[[np.ndarray], Mapping[str, np.ndarray]]  # Latents [W, Z] to {name: [W]}.

# What no window can pass; its register has no bound that matters.
_BOUNDS = {DENSITY: (0.0, math.inf), MODE: (0.0, 1.0), POLYPHONY: (1.0, math.inf)}
_MINOR, _MAJOR = (3, 8, 10), (4, 9, 11)  # Third, sixth and seventh above the tonic, in semitones.
_NUM_PITCH_CLASSES = 12
_PENALTIES = np.logspace(0, 6, 13)
_CALIBRATION_WINDOWS = 256
_CALIBRATION_AMOUNT = 2.0
_MAX_STRETCH, _NUM_HALVINGS = 4.0, 8


@dataclasses.dataclass(frozen=True, eq=False)
class Directions:
    """Where to move latents to change attributes; A attributes.

    Attributes:
      names: the attributes, A of them.
      spread: [A, Z], L g: the direction of each attribute, C w.
      gram: [A, A], g_i g_j: how much of one attribute the direction of another moves, w_i^T C w_j.
      mean: [A], mean of each attribute over real windows.
      deviation: [A], its standard deviation over real windows.
      reach: [A], the change in the linear model that an amount of 1 asks for: the deviation, stretched.
    """

    names: tuple[str, ...]
    spread: np.ndarray
    gram: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    reach: np.ndarray


def window_attributes(lists: NoteLists, min_pitch: int, window_beats: int = 8) -> dict[str, np.ndarray]:
    """Measures the attributes of windows.

    Drums take no part, nor do notes that began before the window; a pitch that several parts start together is one
    note.

    density: notes a beat of the window.
    register: mean pitch of the notes as MIDI counts them, in the roll's transposition.
    mode: of the thirds, sixths and sevenths above the tonic the share that is minor, 0..1; the roll is taken to be
      transposed so that the tonic is C.
    polyphony: notes a step at which any starts.

    Args:
      lists: the windows.
      min_pitch: the pitch of index 0.
      window_beats: beats in a window.

    Returns:
      For each name in `ATTRIBUTES` float64 [W]; nan in windows without notes, and for the mode in those without thirds,
      sixths and sevenths.
    """
    notes, mask = np.asarray(lists.notes).astype(np.int64), np.asarray(lists.mask)
    held = mask & (notes[..., PART] != instruments.DRUMS) & (notes[..., STEP] >= 0)
    num_windows, own = len(mask), notes[held]
    rows = np.stack([np.nonzero(held)[0], own[:, STEP], own[:, PITCH] + min_pitch], axis=1)
    window, _, pitch = np.unique(rows, axis=0).T
    onsets = np.unique(rows[:, :2], axis=0)[:, 0]
    count = np.bincount(window, minlength=num_windows)
    minor, major = (
        np.bincount(window[np.isin(pitch % _NUM_PITCH_CLASSES, kind)], minlength=num_windows)
        for kind in (_MINOR, _MAJOR)
    )
    return {
        DENSITY: _ratio(count, np.where(count > 0, window_beats, 0)),
        REGISTER: _ratio(np.bincount(window, pitch, minlength=num_windows), count),
        MODE: _ratio(minor, minor + major),
        POLYPHONY: _ratio(count, np.bincount(onsets, minlength=num_windows)),
    }


def attribute_decoder(inference: Inference) -> DecodeAttributes:
    """Returns the function from latents [W, Z] to the attributes of the windows that they decode to, {name: [W]}.

    Raises:
      UserError: where the model does not work on a piano roll.
    """
    representation = inference.representation
    if not isinstance(representation, RollRepresentation):
        raise UserError("attributes are those of a piano roll; this run has another representation")
    return lambda z: window_attributes(inference.decode(z), representation.min_pitch, representation.window_beats)


def fit_directions(
    means: np.ndarray,
    values: Mapping[str, np.ndarray],
    decode_attributes: DecodeAttributes,
    *,
    seed: int,
    num_probes: int = 8192,
) -> Directions:
    """Finds the direction of each attribute: see the head of this module.

    Each probe decodes a window moved one way and the other, and half the difference is its change: what depends on the
    size of the step alone cancels. The penalty of the ridge regression is chosen by its own leave-one-out
    cross-validation. An attribute that never changes gets the direction zero.

    Args:
      means: [N, Z], posterior means of real windows, those trained on; N at least 2.
      values: the attributes of the same windows, {name: [N]}; nan where a window has none.
      decode_attributes: see `attribute_decoder`.
      seed: of the choice of windows and steps.
      num_probes: how many steps are tried.
    """
    rng = np.random.default_rng(seed)
    factor = latents.fit_density(means).factor
    noise = rng.standard_normal((num_probes, means.shape[1]))
    start, step = means[rng.integers(len(means), size=num_probes)], noise @ factor.T
    changes = _half_differences(decode_attributes, start, step)
    gradients = np.stack([_ridge_slopes(noise, changes[name]) for name in values])
    fit = Directions(
        names=tuple(values),
        spread=gradients @ factor.T,
        gram=gradients @ gradients.T,
        mean=np.array([_finite(value).mean() for value in values.values()]),
        deviation=np.array([_finite(value).std() for value in values.values()]),
        reach=np.array([_finite(value).std() for value in values.values()]),
    )
    shown = arrays_lib.subsample({"z": means, **values}, _CALIBRATION_WINDOWS)
    stretch = np.array([_stretch(name, fit, shown["z"], shown[name], decode_attributes) for name in fit.names])
    return dataclasses.replace(fit, reach=fit.reach * stretch)


def move(z: np.ndarray, directions: Directions, amounts: Mapping[str, float]) -> np.ndarray:
    """Moves latents so that attributes change by so many standard deviations of real windows.

    Of all moves that meet the amounts together in the linear model it is the likeliest, so that attributes do not undo
    each other: spread^T gram^-1 (reach * amounts) over the attributes named. An amount of 0 holds an attribute that
    would change along with the others; one that is not named is free.

    Args:
      z: [W, Z].
      directions: where to move.
      amounts: {name: amount}, positive for more.

    Raises:
      ValueError: for a name that the directions do not have.
    """
    chosen = [directions.names.index(name) for name in amounts]
    if not chosen:
        return np.array(z)
    wanted = directions.reach[chosen] * np.array(list(amounts.values()))
    # Least squares, because an attribute that never changes leaves a row of zeros.
    share = np.linalg.lstsq(directions.gram[np.ix_(chosen, chosen)], wanted, rcond=None)[0]
    return z + share @ directions.spread[chosen]


def parse_attribute(text: str) -> tuple[str, float]:
    """Reads "density:+1.5" as ("density", 1.5).

    Raises:
      UserError: for an unknown name, or an amount that is no number from -10 to 10.
    """
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
    buffer = io.BytesIO()
    fields = {field.name: getattr(directions, field.name) for field in dataclasses.fields(directions)}
    np.savez_compressed(buffer, **fields | {"names": np.array(directions.names)})
    files.write_bytes(path, buffer.getvalue())


def load(path: pathlib.Path, latent_dim: int) -> Directions:
    """Reads directions.

    Raises:
      UserError: where the file cannot be read, is damaged, or belongs to latents of another size.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            names = tuple(arrays["names"].tolist())
            count = len(names)
            shapes: dict[str, tuple[int, ...]] = {"spread": (count, latent_dim), "gram": (count, count)}
            shapes |= dict.fromkeys(("mean", "deviation", "reach"), (count,))
            found = {name: arrays[name].astype(np.float64) for name in shapes}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a file of attributes ({error})") from error
    if not set(names) <= set(ATTRIBUTES) or any(
        found[name].shape != shape or not np.all(np.isfinite(found[name])) for name, shape in shapes.items()
    ):
        raise UserError(f"{path}: not a file of attributes for {latent_dim} latents")
    return Directions(names, **found)


def measure_effect(
    z: np.ndarray,
    directions: Directions,
    decode_attributes: DecodeAttributes,
    amounts: Sequence[float] = AMOUNTS,
) -> dict[str, Any]:
    """Measures what each direction does to windows, better held-out ones.

    Args:
      z: [W, Z], latents of the windows, W at least 1.
      directions: what is measured.
      decode_attributes: see `attribute_decoder`.
      amounts: ascending, at least two.

    Returns:
      A dict for JSON: "windows", how many; "amounts"; "deviation", {name: sd}; and "effect", for each attribute moved
        means: for each attribute measured, so that side effects show, its mean at each amount over the windows that
          have a value at all amounts; None where no window has.
        monotone: share of these windows in which the attribute moved never falls and ends higher than it starts.
        rank_correlation: Spearman's, between amount and attribute moved within a window, averaged over these windows;
          0 for a window that does not change.
    """
    effect = {}
    for moved in directions.names:
        decoded = [decode_attributes(move(z, directions, {moved: amount})) for amount in amounts]
        tables = {name: np.stack([found[name] for found in decoded]) for name in directions.names}
        whole = {name: table[:, np.all(np.isfinite(table), axis=0)] for name, table in tables.items()}
        mine = whole[moved]
        monotone = np.all(np.diff(mine, axis=0) >= 0, axis=0) & (mine[-1] > mine[0])
        effect[moved] = {
            "means": {name: table.mean(axis=1).tolist() if table.size else None for name, table in whole.items()},
            "monotone": float(monotone.mean()) if mine.size else None,
            "rank_correlation": float(_rank_correlations(mine).mean()) if mine.size else None,
        }
    return {
        "windows": len(z),
        "amounts": [float(amount) for amount in amounts],
        "deviation": dict(zip(directions.names, directions.deviation.tolist(), strict=True)),
        "effect": effect,
    }


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divides; nan where the denominator is 0."""
    return numerator / np.where(denominator > 0, denominator, np.nan)


def _finite(values: np.ndarray) -> np.ndarray:
    """The values that are numbers; a single 0 where none is."""
    finite = values[np.isfinite(values)]
    return finite if len(finite) else np.zeros(1)


def _half_differences(decode_attributes: DecodeAttributes, z: np.ndarray, step: np.ndarray) -> dict[str, np.ndarray]:
    up, down = decode_attributes(z + step), decode_attributes(z - step)
    return {name: (up[name] - down[name]) / 2 for name in up}


def _ridge_slopes(noise: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The slopes g [Z] of a change [M], nan left out, along noise [M, Z]; through zero, where no step changes nothing.

    The attribute of a window and that of another are not compared, so the windows need no cross-validation by piece.
    """
    import sklearn.linear_model

    known = np.isfinite(change)
    if np.count_nonzero(known) < 2 or not np.any(change[known]):
        return np.zeros(noise.shape[1])
    ridge = sklearn.linear_model.RidgeCV(alphas=_PENALTIES, fit_intercept=False)
    return ridge.fit(noise[known], change[known]).coef_


def _stretch(
    name: str, directions: Directions, z: np.ndarray, values: np.ndarray, decode_attributes: DecodeAttributes
) -> float:
    """How far to go along a direction until windows decode as many deviations away as they are asked to.

    Found by bisection on a logarithmic scale, between a quarter and four times the linear model's move.

    Args:
      name: the attribute.
      directions: with `reach` still that of the linear model.
      z: [W, Z], latents of real windows.
      values: [W], their attribute; nan where they have none.
      decode_attributes: see `attribute_decoder`.
    """
    step = move(np.zeros((1, z.shape[1])), directions, {name: _CALIBRATION_AMOUNT})
    if not np.any(step):
        return 1.0
    far = _CALIBRATION_AMOUNT * directions.deviation[directions.names.index(name)]
    bounds = _BOUNDS.get(name, (-math.inf, math.inf))
    wanted = _finite(np.clip(values + far, *bounds) - np.clip(values - far, *bounds)).mean() / 2
    low, high = -math.log(_MAX_STRETCH), math.log(_MAX_STRETCH)
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        change = _finite(_half_differences(decode_attributes, z, math.exp(middle) * step)[name]).mean()
        low, high = (middle, high) if change < wanted else (low, middle)
    return math.exp((low + high) / 2)


def _rank_correlations(table: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each column of [K, W] with 1..K, [W]; 0 for a column that does not change."""
    import scipy.stats

    ranks = scipy.stats.rankdata(table, axis=0) - (len(table) + 1) / 2
    order = (np.arange(len(table)) - (len(table) - 1) / 2)[:, None]
    size = np.sqrt((ranks**2).sum(axis=0) * (order**2).sum())
    return (ranks * order).sum(axis=0) / np.where(size > 0, size, 1.0)


def move_attributes(
    composer: TrainedComposer, piece: Composition, directions: Directions, amounts: Mapping[str, float]
) -> Score:
    """Decodes the latents of a composed piece after moving them along attributes."""
    length = composer.stage.representation.window_steps
    num_steps = piece.roll.num_steps
    starts = np.arange(len(piece.latents)) * length
    lists = composer.inference.decode(move(piece.latents, directions, amounts))
    context = WindowedContext(num_steps, starts, piece.roll.context)
    return composer.stage.representation.decode(Encoded(lists, context))
