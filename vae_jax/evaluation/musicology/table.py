"""The table of statistics: composed pieces against the interval of as many real tunes as are held out."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vae_jax.evaluation.intervals import interval_95
from vae_jax.evaluation.musicology.statistics import STATISTICS
from vae_jax.evaluation.pieces import PieceSet
from vae_jax.evaluation.tables import Cell, format_table
from vae_jax.runtime.files import Json


@dataclasses.dataclass(frozen=True)
class Row:
    """A statistic: its means over the pieces that have one."""

    label: str
    training: float
    held_out: float | None  # None where nothing is held out, or no held-out piece has one.
    composed: float
    interval: list[float]  # 95% of the means of as many training tunes as are held out.
    inside: bool  # Whether the composed mean lies in the interval.


@dataclasses.dataclass(frozen=True)
class Table:
    """The statistics in their order; what could not be computed is left out by name."""

    sample_size: int  # Tunes of a draw.
    rows: dict[str, Row]
    left_out: dict[str, str]  # The reasons, by the name of the statistic.

    @property
    def num_inside(self) -> int:
        """In how many rows the composed mean lies inside."""
        return sum(row.inside for row in self.rows.values())

    def to_json(self) -> Json:
        """Returns the table as `musicology` in docs/metrics.md."""
        return dataclasses.asdict(self) | {"inside": self.num_inside, "of": len(self.rows)}


def compare_statistics(
    training: PieceSet, held_out: PieceSet, composed: PieceSet, sample_size: int, seed: int, num_samples: int = 1000
) -> Table:
    """Compares the means of composed pieces with those of draws of `sample_size` training tunes, by seed."""
    rows: dict[str, Row] = {}
    left_out: dict[str, str] = {}
    for n, (name, label) in enumerate(STATISTICS.items()):
        real, ours = training.column(name), composed.column(name)
        means = _draw_means(real, training.tunes, sample_size, np.random.default_rng([seed, n]), num_samples)
        if not len(means):
            left_out[name] = "too few training tunes have one"
        elif np.isnan(ours).all():
            left_out[name] = "no composed piece has one"
        else:
            value, (low, high) = float(np.nanmean(ours)), interval_95(means)
            theirs = held_out.column(name)
            known = None if np.isnan(theirs).all() else float(np.nanmean(theirs))
            rows[name] = Row(label, float(np.nanmean(real)), known, value, [low, high], low <= value <= high)
    return Table(sample_size, rows, left_out)


def summarise(table: Json) -> str:
    """Formats the table for the terminal."""
    header = ("musicology: mean", "training", "held-out", "composed", f"{table['sample_size']} real tunes", "inside")
    rows: list[Sequence[Cell]] = [header]
    for row in table["rows"].values():
        values = (row["training"], row["held_out"], row["composed"])
        rows.append((row["label"], *values, row["interval"], row["inside"]))
    rows.append((f"inside: {table['inside']} of {table['of']}",))
    for reason in dict.fromkeys(table["left_out"].values()):
        names = [name for name, why in table["left_out"].items() if why == reason]
        rows.append((f"left out ({reason}): {', '.join(names)}",))
    return format_table(rows, (50, 10, 10, 10, 20, 9))


def _draw_means(
    values: np.ndarray, tunes: Sequence[int], size: int, rng: np.random.Generator, num_samples: int
) -> np.ndarray:
    """Means of the values that the pieces of `size` tunes have, drawn without replacement; only draws that have any."""
    known = ~np.isnan(values)
    names, index = np.unique(np.asarray(tunes, dtype=np.int64), return_inverse=True)
    if not 0 < size <= len(names):
        return np.zeros(0)
    sums = np.bincount(index, np.where(known, values, 0.0)), np.bincount(index, known)
    drawn = rng.permuted(np.tile(np.arange(len(names)), (num_samples, 1)), axis=1)[:, :size]
    total, count = (column[drawn].sum(axis=1) for column in sums)
    return total[count > 0] / count[count > 0]
