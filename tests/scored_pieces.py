"""`metrics.json` of runs, as far as folds and comparisons read it."""

from __future__ import annotations

from vae_jax.runtime.files import Json

ACCURACY = "composed.two_sample.composed.views.all.logistic.balanced_accuracy"


def piece(path: str, matched: int, *, tune: str = "", part: str = "held_out", notes: int = 10, nats: float = 1) -> Json:
    """A piece whose reconstruction has as many notes as the original."""
    return {
        "path": path,
        "part": part,
        "tune": tune or path,
        "note_f1_50ms": matched / notes,
        "note_f1_instrument": matched / notes,
        "ceiling_note_f1_50ms": 1.0,
        "counts": {"note_f1_50ms": [matched, notes, notes], "drum_f1_50ms": [0, 0, 0]},
        "sums": {"kl_nats": [nats, 2]},
    }


def metrics(*pieces: Json, accuracy: float = 0.75, corpus: str = "songs") -> Json:
    """The scores of a run with three training pieces a held-out one."""
    held_out = [row for row in pieces if row["part"] == "held_out"]
    f1 = sum(row["counts"]["note_f1_50ms"][0] for row in held_out) / max(
        1, sum(row["counts"]["note_f1_50ms"][1] for row in held_out)
    )
    judged = {"balanced_accuracy": accuracy, "interval": [0.5, 1.0], "above_chance": True}
    return {
        "corpus": corpus,
        "pieces": list(pieces),
        "held_out": {"pieces": len(held_out), "note_f1_50ms": f1, "note_f1_50ms_interval": [0.0, 1.0]},
        "training": {"pieces": 3 * len(held_out), "note_f1_50ms": 0.9},
        "composed": {"two_sample": {"composed": {"views": {"all": {"logistic": judged}}}}},
    }
