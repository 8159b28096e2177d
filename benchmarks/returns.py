"""How closely phrases return in composed pieces, by how closely they were asked to.

python -m benchmarks.returns --workdir=RUN
"""

from __future__ import annotations

import numpy as np
from absl import app, flags

from vae_jax.composer import generate, requests, stage
from vae_jax.composer.form import phrase_similarities
from vae_jax.training.experiment import load_experiment

_WORKDIR = flags.DEFINE_string("workdir", "runs/anthems", "Folder of a run with a composer.")
_NUM = flags.DEFINE_integer("num", 64, "Number of pieces.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of composing.", lower_bound=0)
_LIMITS = (0.2, 0.35, 0.6, 0.85, 0.999)  # Of the similarities that are averaged.


def main(_: list[str]) -> None:
    """Prints the means of the similarities that were asked for and that came out."""
    composer = stage.load_composer(load_experiment(_WORKDIR.value))
    rngs = [np.random.default_rng([_SEED.value, n]) for n in range(_NUM.value)]
    asked = [requests.sample_request(composer, rng) for rng in rngs]
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


if __name__ == "__main__":
    app.run(main)
