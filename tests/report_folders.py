"""Folders of runs as the page of a run reads them, made without training."""

from __future__ import annotations

import pathlib

import numpy as np

from configs import anthems
from vae_jax.data import corpus, ingest_report
from vae_jax.music import midi
from vae_jax.music.score import Score, make_notes, make_score
from vae_jax.report.artifacts import pair_paths
from vae_jax.runtime import files
from vae_jax.training import run_dir
from vae_jax.training.run_dir import RunFolder


def melody(first: int, name: str = "melody") -> Score:
    notes = make_notes(np.arange(8) * 480, 240, first + np.arange(8), program=56)
    return make_score(480, notes, track_names=[name])


def make_run(tmp_path: pathlib.Path, tunes: dict[str, Score], num_held_out: int = 1) -> RunFolder:
    """A run's folder as it is before the first step, the first tunes held out, and its corpus beside it."""
    songs = tmp_path / "songs"
    songs.mkdir()
    for name, score in tunes.items():
        (songs / name).write_bytes(midi.write_midi(score))
    (songs / "<b>text.mid").write_text("Dear diary,")
    source = corpus.load_corpus(str(songs))
    paths = [piece.path for piece in source.pieces]
    split = corpus.Split.of(np.isin(paths, list(tunes)[:num_held_out]))
    folder = run_dir.open_run(str(tmp_path / "run"), anthems.get_config().to_dict(), source, split)
    files.write_json(folder.ingest, ingest_report.describe_corpus(source))
    return folder


def add_music(folder: RunFolder, name: str, original: Score, reconstruction: Score, *, training: bool = False) -> None:
    place = folder.training_reconstructions if training else folder.reconstructions
    for path, score in zip(pair_paths(place, name), (original, reconstruction), strict=True):
        files.write_bytes(path, midi.write_midi(score))
