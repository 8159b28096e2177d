"""Runs side by side: differences of their scores, paired by tune or by fold, with 95% intervals."""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence

import numpy as np

from vae_jax.evaluation import folds
from vae_jax.evaluation.held_out import HeldOut, bootstrap_interval, read_held_out
from vae_jax.evaluation.intervals import fold_interval_95
from vae_jax.evaluation.tables import Cell, format_table
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import Json, printable
from vae_jax.runtime.text import quantity

_MAIN_SCORE = "note_f1_50ms"  # Every representation has it, of the notes of the file.
# The figures, by their places in `metrics.json`, that are shown beside the scores.
_FIGURES = (
    "training.note_f1_50ms",
    "training.note_f1_instrument",
    "composed.memorization.*.composed.mean",
    "composed.musicology.inside",
    "composed.two_sample.composed.views.*.balanced_accuracy",
    "composed.two_sample.composed.views.*.auc_distance",
)


def is_shown(place: str) -> bool:
    """Whether a figure, by its place in `metrics.json`, is one of the main ones beside the scores."""
    return any(fnmatch.fnmatch(place, one) for one in _FIGURES)


@dataclasses.dataclass(frozen=True)
class Difference:
    """A score of two runs on the same pieces, or the mean of their folds."""

    first: float
    second: float
    interval: list[float] | None  # Of second - first; None where fewer than two tunes or folds are shared.
    num_higher: int | None  # Tunes, or folds, in which the second run's is higher.
    size: int  # Of how many.

    @property
    def difference(self) -> float:
        """What the second run's is higher by."""
        return self.second - self.first


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A run compared with a first one.

    Attributes:
      num_tunes, num_pieces: what both hold out; `held_out` is computed from these alone.
      held_out: scores that both have of the same notes, paired by tune.
      left_out: names of scores that count other notes in each run, those of another grid.
      figures: every other figure that both have, paired by fold where both have the same folds.
    """

    num_tunes: int
    num_pieces: int
    held_out: Mapping[str, Difference]
    left_out: Sequence[str]
    figures: Mapping[str, Difference]


def compare(first: Json, second: Json, names: tuple[str, str], seed: int = 0) -> Comparison:
    """Compares the `metrics.json` of two runs, each of one split or of all folds.

    Raises:
      UserError: where they hold out no tune in common, or a file of one path has other notes; names the runs.
    """
    pair = (read_held_out(first, names[0]), read_held_out(second, names[1]))
    paths = [run.paths for run in pair]
    shared = [path for path in paths[0] if path in paths[1]]
    if not shared:
        raise UserError(
            f"{names[0]} and {names[1]} hold out other tunes, none in common; give both the same "
            "config.data.split_seed and num_held_out, or the same num_folds"
        )
    ours, theirs = (run.select([mine.index(path) for path in shared]) for run, mine in zip(pair, paths, strict=True))
    common = [name for name in ours.ratios if name in theirs.ratios]
    grids = [one.get("likelihood_grid", one.get("likelihood", {}).get("grid")) for one in (first, second)]
    other_notes = [
        name
        for name in common
        if not _same_notes(ours, theirs, name) or (name.startswith("likelihood.") and grids[0] != grids[1])
    ]
    if _MAIN_SCORE in other_notes:
        raise UserError(f"{names[0]} and {names[1]} are on other files of the same names; compare runs on one corpus")
    scored = {}
    for name in common:
        values = ours.score(name), theirs.score(name)
        if name not in other_notes and values[0] is not None and values[1] is not None:
            interval = bootstrap_interval([ours.ratios[name], theirs.ratios[name]], ours.tunes, seed)
            scored[name] = Difference(values[0], values[1], interval, *_count_higher(ours, theirs, name))
    return Comparison(len(set(ours.tunes)), len(shared), scored, other_notes, _compare_figures(first, second, pair))


def summarise(names: Sequence[str], comparisons: Sequence[Comparison]) -> str:
    """Formats the comparisons of all but the first of some runs with the first, as tables for the terminal."""
    letters = [chr(ord("A") + n) for n in range(len(names))]
    blocks = ["\n".join(f"{letter}: {printable(name)}" for letter, name in zip(letters, names, strict=True))]
    for letter, found in zip(letters[1:], comparisons, strict=True):
        columns = ("A", letter, f"{letter} - A", "95% interval", f"{letter} higher")
        count = f"held out by both: {quantity(found.num_tunes, 'tune')} ({quantity(found.num_pieces, 'file')})"
        rows: list[Sequence[Cell]] = [(count, *columns)]
        rows += [_row(folds.score_label(name), one) for name, one in found.held_out.items()]
        if found.left_out:
            rows.append((f"counts other notes in {letter}: {', '.join(found.left_out)}",))
        shown = [place for place in found.figures if is_shown(place)]
        if shown:
            rows += [(), ("of the whole run, or the mean of its folds", *columns)]
            rows += [_row(place, found.figures[place]) for place in shown]
        blocks.append(format_table(rows, (54, 9, 9, 10, 20, 12)))
    return "\n\n".join(blocks)


def _row(label: str, one: Difference) -> Sequence[Cell]:
    higher = f"{one.num_higher} of {one.size}" if one.size > 1 else None
    return label, one.first, one.second, f"{one.difference:+.4f}", one.interval, higher


def _same_notes(first: HeldOut, second: HeldOut, name: str) -> bool:
    return name not in first.references or np.array_equal(first.references[name], second.references[name])


def _count_higher(first: HeldOut, second: HeldOut, name: str) -> tuple[int, int]:
    """In how many tunes the second run's score is higher, of how many."""
    index = np.unique(first.tunes, return_inverse=True)[1]
    above, below, above2, below2 = (
        np.bincount(index, column) for run in (first, second) for column in run.ratios[name]
    )  # fmt: skip
    return int(np.sum(above2 * below > above * below2)), int(np.sum((below > 0) & (below2 > 0)))


def _compare_figures(first: Json, second: Json, pair: tuple[HeldOut, HeldOut]) -> dict[str, Difference]:
    """Compares what is no sum over pieces: values of single runs, means of folds, paired where these are the same."""
    ours, theirs = (folds.read_figures(one) for one in (first, second))
    same_folds = set(pair[0].pieces) == set(pair[1].pieces) and len({piece.fold for piece in pair[0].pieces}) > 1
    figures = {}
    for place in (place for place in ours if place in theirs):
        mean, other = float(np.mean(ours[place])), float(np.mean(theirs[place]))
        if not same_folds:
            figures[place] = Difference(mean, other, None, None, 1)
            continue
        differences = np.subtract(theirs[place], ours[place])
        interval = fold_interval_95(differences, max(first["test_share"], second["test_share"]))
        figures[place] = Difference(mean, other, interval, int(np.sum(differences > 0)), len(differences))
    return figures
