"""A run of the flagship made small: what starts it, for the tests of what it leaves."""

from __future__ import annotations

import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).parents[1]
SMALL = [
    "--config=configs/anthems.py",
    "--config.data.num_synthetic=6",
    "--config.data.path=synthetic",
    "--config.data.num_held_out=2",
    "--config.representation.training_hop_beats=4",
    "--config.model.latent_dim=12",
    "--config.model.num_onset_cells=600",
    "--config.model.num_drum_cells=50",
    "--config.train.num_epochs=2",
    "--config.train.checkpoint_every_epochs=1",
    "--config.train.min_steps=0",
    "--config.sample.num=1",
    "--config.composer.hidden=16",
    "--config.composer.max_onsets=16",
    "--config.composer.dropped_parts_copies=0",
    "--config.composer.train.num_epochs=1",
    "--config.composer.train.min_steps=0",
    "--config.composer.num_scored=4",
]


def run(*arguments: str) -> subprocess.CompletedProcess:
    """Runs a command of the project from its root."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=500, check=False)
