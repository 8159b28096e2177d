"""How closely phrases return by how closely they were asked to, and variations resemble what they vary.

python -m benchmarks.returns --workdir=RUN
"""

from __future__ import annotations

import numpy as np
from absl import app, flags

from vae_jax.composer import generate, requests, stage
from vae_jax.composer.form import phrase_similarities
from vae_jax.composer.notes import NotePiece
from vae_jax.composer.stage import TrainedComposer
from vae_jax.data.corpus import Piece
from vae_jax.music.match_counts import f1_score
from vae_jax.training.experiment import load_experiment

_WORKDIR = flags.DEFINE_string("workdir", "runs/anthems", "Folder of a run with a composer.")
_NUM = flags.DEFINE_integer("num", 64, "Number of pieces.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of composing.", lower_bound=0)
_LIMITS = (0.2, 0.35, 0.6, 0.85, 0.999)  # Of the similarities that are averaged.
_AMOUNTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def main(_: list[str]) -> None:
    """Prints the means of similarities."""
    run = load_experiment(_WORKDIR.value)
    composer = stage.load_composer(run)
    print_returns(composer)
    corpus, split = run.load_corpus("")
    print_variations(composer, [corpus.pieces[n] for n in split.held_out])


def print_returns(composer: TrainedComposer) -> None:
    """Prints what was asked of phrases and what came out."""
    asked = [requests.sample_request(composer, rng) for rng in _rngs(_NUM.value)]
    pairs: list[tuple[float, float]] = []
    for request, piece in zip(asked, generate.generate_notes(composer, asked, _SEED.value), strict=True):
        form = request.form
        found = phrase_similarities(piece.step - form.start, piece.pitch, form.phrase, len(form.back))
        phrases = np.flatnonzero(form.back)
        pairs += zip(form.similarity[phrases], found[phrases, phrases - form.back[phrases]], strict=True)
    wanted, realised = np.array(pairs).T
    group = np.searchsorted(_LIMITS, wanted)
    for n in np.unique(group):
        mine = group == n
        print(f"asked {wanted[mine].mean():.2f}, realised {realised[mine].mean():.2f} ({mine.sum()} phrases)")


def print_variations(composer: TrainedComposer, pieces: list[Piece]) -> None:
    """Prints the F1 of the onsets of variations with those of the pieces they vary."""
    originals: list[NotePiece | None] = []
    for amount in _AMOUNTS:
        rngs = _rngs(len(pieces))
        asked = [requests.variation_request(composer, one, amount, rng) for one, rng in zip(pieces, rngs, strict=True)]
        originals = originals or [request.source for request in asked]  # Of the first amount; a new piece has none.
        found = generate.generate_notes(composer, asked, _SEED.value)
        scores = [_f1(original, piece) for original, piece in zip(originals, found, strict=True) if original]
        print(f"varied by {amount:g}: F1 {np.mean(scores):.2f} ({len(scores)} pieces)")


def _f1(original: NotePiece, varied: NotePiece) -> float:
    cells = [set(zip(one.step.tolist(), one.pitch.tolist(), strict=True)) for one in (original, varied)]
    return float(f1_score(len(cells[0] & cells[1]), len(cells[0]), len(cells[1])))


def _rngs(num: int) -> list[np.random.Generator]:
    return [np.random.default_rng([_SEED.value, n]) for n in range(num)]


if __name__ == "__main__":
    app.run(main)
