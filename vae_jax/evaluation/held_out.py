"""Scores of held-out pieces as ratios of sums, read from `metrics.json`: what is resampled by tune and compared."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.evaluation.intervals import interval_95, resample_group_sums
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import Json

LIKELIHOOD_TERMS = ("onsets", "all_but_durations", "all")
_NUM_SAMPLES = 2000


class HeldOutPiece(NamedTuple):
    """A held-out piece: its path, its tune, and the number of the fold that holds it out."""

    path: str
    tune: str
    fold: int


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """The held-out pieces of a run, or of all folds of one; N pieces.

    Attributes:
      ratios: numerators and denominators by the score's name, [2, N] float64. The score of some pieces is the sum of
        the first over that of the second.
      references: by the name of an F1 the notes of the original that it counts, [N] int64.
    """

    pieces: tuple[HeldOutPiece, ...]
    ratios: Mapping[str, np.ndarray]
    references: Mapping[str, np.ndarray]

    @property
    def paths(self) -> list[str]:
        """The paths of the pieces."""
        return [piece.path for piece in self.pieces]

    @property
    def tunes(self) -> list[str]:
        """Their tunes."""
        return [piece.tune for piece in self.pieces]

    def select(self, index: Sequence[int]) -> "HeldOut":
        """Returns some of the pieces."""
        ratios, references = (
            {name: values[..., list(index)] for name, values in group.items()}
            for group in (self.ratios, self.references)
        )
        return HeldOut(tuple(self.pieces[n] for n in index), ratios, references)

    def score(self, name: str) -> float | None:
        """Returns a score of all pieces; None where there is nothing to score, drums for instance."""
        above, below = self.ratios[name].sum(axis=1)
        return float(above / below) if below else None

    def interval(self, name: str) -> list[float] | None:
        """Returns its 95% interval over tunes; None for fewer than two."""
        return bootstrap_interval([self.ratios[name]], self.tunes, 0)


def held_out_rows(metrics: Json) -> list[Json]:
    """Returns the rows of the held-out pieces, with what each model's likelihood of a piece costs and the piece's beats
    among their sums, as "likelihood.MODEL.TERM"."""
    likelihood = metrics.get("likelihood", {})
    costs: dict[str, Json] = {piece["path"]: {} for piece in likelihood.get("pieces", [])}
    for model, found in likelihood.get("rows", {}).items():
        for piece, nats in zip(likelihood["pieces"], found["pieces"], strict=True):
            terms = [term for term in LIKELIHOOD_TERMS if nats.get(term) is not None]
            costs[piece["path"]] |= {f"likelihood.{model}.{term}": [nats[term], piece["beats"]] for term in terms}
    rows = [row for row in metrics.get("pieces", []) if row["part"] == "held_out"]
    return [row | {"sums": row.get("sums", {}) | costs.get(row["path"], {})} for row in rows]


def read_held_out(metrics: Json, name: str) -> HeldOut:
    """Reads the held-out pieces of `metrics.json`. Raises UserError, which names the run, where it holds none, or has
    none of the sums."""
    rows = held_out_rows(metrics)
    if not rows:
        raise UserError(f"{name}: holds out nothing, so that it has no scores over tunes")
    if "counts" not in rows[0]:
        raise UserError(f"{name}: evaluated by an older version; start run.py again in this folder to renew its scores")
    ratios: dict[str, np.ndarray] = {}
    for score in dict.fromkeys(score for row in rows for score in row["counts"]):
        matched, reference, estimate = np.array([row["counts"].get(score, [0, 0, 0]) for row in rows]).T
        ratios[score] = np.array([2 * matched, reference + estimate], dtype=np.float64)
    for score in dict.fromkeys(score for row in rows for score in row["sums"]):
        ratios[score] = np.array([row["sums"].get(score, [0, 0]) for row in rows], dtype=np.float64).T
    references = {
        score: np.array([row["counts"].get(score, [0, 0, 0])[1] for row in rows], dtype=np.int64)
        for score in rows[0]["counts"]
    }
    pieces = tuple(HeldOutPiece(row["path"], row["tune"], row.get("fold", 0)) for row in rows)
    return HeldOut(pieces, ratios, references)


def bootstrap_interval(ratios: Sequence[np.ndarray], tunes: Sequence[str], seed: int) -> list[float] | None:
    """Returns the 95% interval over tunes of a score, or of what a second one of the same pieces has more.

    Args:
      ratios: numerators and denominators [2, N] of one score, or of two whose difference is wanted.
      tunes: the tune of each piece.
      seed: of the resampling.

    Returns:
      The interval; None for fewer than two tunes, and where no resample has anything to score.
    """
    if len(set(tunes)) < 2:
        return None
    sums = resample_group_sums(np.concatenate(ratios), np.array(tunes), np.random.default_rng(seed), _NUM_SAMPLES)
    below = np.array(sums[1::2])
    known = np.all(below > 0, axis=0)
    if not known.any():
        return None
    scores = np.array(sums[::2])[:, known] / below[:, known]
    return interval_95(scores[-1] - scores[0] if len(scores) > 1 else scores[0])
