"""The README's Python example runs as it stands, on a small run."""

from __future__ import annotations

import pathlib
import re
import wave

import pytest

from vae_jax.data import synthetic
from vae_jax.music import audio, midi

README = pathlib.Path(__file__).parents[2] / "README.md"


def test_the_python_example_runs(small_run: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.S)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/anthems").symlink_to(small_run)
    monkeypatch.chdir(tmp_path)
    midi.save(synthetic.make_score(0, 0), "song.mid")
    names: dict = {}
    exec(code, names)
    assert names["one"].posterior.mean.shape[1] == names["run"].inference().latent_dim
    assert midi.load("reconstruction.mid").track_names
    for name in ("piece_0.wav", "piece_1.wav"):
        with wave.open(name) as file:
            assert file.getnframes() > audio.TAIL_SEC * audio.SAMPLE_RATE
