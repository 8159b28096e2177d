"""A handful of songs: the shipped parameters as they are, adapted to five songs, and training on the five alone.

    python -m benchmarks.five_songs --path=NationalAnthems.zip [--among=FILE] [--draws=5]

Every draw takes five tunes of a corpus at random to adapt to, of which one chooses the checkpoint, and ten others to
score. Printed of each arm are the composer's nats a beat with nothing but the tracks given (onsets, durations and
tracks), and the note F1 of the reconstructions.
"""

from __future__ import annotations

import json
import pathlib
import tempfile
import time
from typing import Any

import numpy as np
from absl import app, flags

from configs import mine
from vae_jax.composer import stage
from vae_jax.data import corpus as corpus_lib
from vae_jax.data.config import DataConfig
from vae_jax.data.corpus import Corpus
from vae_jax.data.splits import Split
from vae_jax.evaluation.likelihood.composer import ComposerLikelihood
from vae_jax.evaluation.likelihood.frequencies import Frequencies
from vae_jax.evaluation.likelihood.target import make_grid_piece
from vae_jax.evaluation.note_matching import SCORES
from vae_jax.models.inference import CALIBRATION_EXAMPLES, Inference, calibrate
from vae_jax.music.match_counts import MatchCounts
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.runtime import compilation_cache
from vae_jax.training import experiment as experiment_lib
from vae_jax.training import loop
from vae_jax.training.run_dir import RunFolder

_PATH = flags.DEFINE_string("path", "", "The corpus, as config.data.path.")
_AMONG = flags.DEFINE_string("among", "", "A run.json: only tunes that its run held out are drawn.")
_PRETRAINED = flags.DEFINE_string("pretrained", "pretrained", "The run to start from.")
_DRAWS = flags.DEFINE_integer("draws", 5, "Number of draws.")
_ARMS = flags.DEFINE_list("arms", ["unadapted", "adapted", "scratch"], "What is scored.")
_NUM_SONGS, _NUM_SCORED = 5, 10
_SCRATCH = {"train": 400, "composer.train": 100}  # Updates; longer training on five songs is worse.


def main(_: list[str]) -> None:
    """Prints a line for each draw and arm, and the means."""
    compilation_cache.enable()
    found = corpus_lib.find_sources(DataConfig(path=_PATH.value), allow_chorales=False, flag="--path")
    corpus = corpus_lib.read_sources(found)
    rows: dict[str, list[list[float]]] = {arm: [] for arm in _ARMS.value}
    for draw in range(_DRAWS.value):
        split = draw_songs(corpus, draw)
        for arm in _ARMS.value:
            started = time.perf_counter()
            rows[arm].append(score(arm, corpus, split))
            seconds = time.perf_counter() - started
            print(f"draw {draw} {arm:<10} {describe(rows[arm][-1])} ({seconds:.0f} s)", flush=True)
    for arm, values in rows.items():
        print(f"mean   {arm:<10} {describe(np.mean(values, axis=0).tolist())}")


def describe(row: list[float]) -> str:
    """A row as text."""
    onsets, durations, tracks, f1, offsets = row
    return (
        f"onsets {onsets:6.2f} durations {durations:6.2f} tracks {tracks:6.2f} nats a beat; "
        f"F1 {f1:.3f}, with note ends {offsets:.3f}"
    )


def draw_songs(corpus: Corpus, draw: int) -> Split:
    """Draws tunes to adapt to and to score; of each its first file."""
    allowed = {piece.path for piece in corpus.pieces if not piece.score.notes.is_drum.all()}
    if _AMONG.value:
        held_out = json.loads(pathlib.Path(_AMONG.value).read_text())["split"]["held_out"]
        allowed &= {path.split("/", 1)[1] for path in held_out if "/" in path}
    first: dict[int, int] = {}
    for n, (piece, group) in enumerate(zip(corpus.pieces, corpus.tune_groups, strict=True)):
        if piece.path in allowed:
            first.setdefault(group, n)
    if len(first) <= _NUM_SONGS:
        raise app.UsageError(f"only {len(first)} tunes to draw from")
    order = np.random.default_rng(draw).permutation(list(first.values()))[: _NUM_SONGS + _NUM_SCORED]
    return Split(tuple(sorted(order[:_NUM_SONGS].tolist())), tuple(sorted(order[_NUM_SONGS:].tolist())))


def score(arm: str, corpus: Corpus, split: Split) -> list[float]:
    """Trains as an arm says, and scores."""
    raw: dict[str, Any] = mine.get_config().to_dict()
    if arm == "scratch":
        raw["train"]["min_steps"], raw["composer"]["train"]["min_steps"] = _SCRATCH.values()
        for section in (raw, raw["composer"]):
            section["optimizer"]["learning_rate"] = 3e-3
    setup = experiment_lib.build_experiment(raw)
    start = None if arm == "scratch" else experiment_lib.load_start(_PRETRAINED.value, corpus, split)
    representation = setup.representation
    assert isinstance(representation, RollRepresentation)
    if arm == "unadapted":
        assert start is not None
        inference, composer = start.inference(), stage.load_composer(start)
    else:
        with tempfile.TemporaryDirectory() as folder:
            run = RunFolder(pathlib.Path(folder))
            # As with configs/mine.py one of the songs chooses the checkpoint.
            inner = Split(split.train[:-1], split.train[-1:])
            dataset = setup.make_dataset(corpus, inner)
            adapted = None if start is None else lambda: setup.trainable.adapt(start.variables, dataset, setup.key())
            state = loop.fit(setup.trainable, dataset, setup.train, run, key=setup.key(), order_seed=0, start=adapted)
            variables = state.trained_variables
            sample = dataset.train.sample(CALIBRATION_EXAMPLES)
            calibration = calibrate(setup.model, representation, variables, sample)
            inference = Inference(setup.model, representation, variables, calibration)
            known_composer = None if start is None else stage.load_start(start, setup)
            composer = stage.train_composer(setup, corpus, inner, run, known_composer)
    scores = [corpus.pieces[n].score for n in split.held_out]
    pieces = [make_grid_piece(one, representation) for one in scores]
    training = [make_grid_piece(corpus.pieces[n].score, representation) for n in split.train]
    nats = ComposerLikelihood(composer, Frequencies(training)).nats(pieces)
    beats = sum(piece.num_beats for piece in pieces)
    terms = [sum(getattr(one, name) for one in nats) / beats for name in ("onsets", "durations", "parts")]
    pairs = [(one.original, one.score) for one in inference.reconstruct(scores)]
    names = ("note_f1_50ms", "note_f1_50ms_offset")
    f1 = [sum((SCORES[name](*pair) for pair in pairs), MatchCounts()).f1 for name in names]
    return [*terms, *f1]


if __name__ == "__main__":
    app.run(main)
