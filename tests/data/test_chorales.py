"""The scores that music21 ships."""

from __future__ import annotations

import dataclasses

import pytest

from vae_jax.data import corpus, parsing, sources
from vae_jax.data.config import DataConfig
from vae_jax.runtime.errors import UserError


def test_the_chorales_in_four_voices_are_listed():
    found = corpus.find_source(DataConfig(path="chorales"), allow_chorales=False)
    assert (found.name, len(found.files)) == ("chorales", 364)
    assert corpus.find_source(DataConfig(**found.to_config()), allow_chorales=False) == found


@pytest.mark.parametrize(("name", "count", "first"), [("quartets", 51, "beethoven/"), ("madrigals", 49, "monteverdi/")])
def test_quartets_and_madrigals_are_listed(name: str, count: int, first: str):
    (found,) = corpus.find_sources(DataConfig(path=name), allow_chorales=False)
    assert (found.name, len(found.files)) == (name, count)
    assert found.files[0].path.startswith(first)
    (one,) = parsing.parse_all(dataclasses.replace(found, files=found.files[-1:]))
    assert one.status == "loaded"


def test_a_chorale_has_four_voices_in_its_key_and_meter():
    found = sources.list_shipped("chorales")
    one = tuple(file for file in found.files if file.path == "bach/bwv66.6.mxl")
    (file,) = parsing.parse_all(dataclasses.replace(found, files=one))
    assert (file.status, file.notes) == ("loaded", 163)
    score = file.score
    assert score.track_names == ("Soprano", "Alto", "Tenor", "Bass")
    assert [(key.fifths, key.minor) for key in score.keys] == [(3, True)]
    assert [(meter.tick / score.ticks_per_beat, meter.numerator) for meter in score.meters] == [(0, 1), (1, 4)]
    soprano = score.notes.select(score.notes.track == 0)
    assert soprano.pitch[:8].tolist() == [73, 71, 69, 71, 73, 76, 73, 71]
    assert score.end_tick == 36 * score.ticks_per_beat


def test_without_them_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path):
    (tmp_path / "bach").mkdir()
    monkeypatch.setattr(sources, "_music21_corpus", lambda: tmp_path)
    with pytest.raises(UserError, match="without its chorales"):
        sources.list_shipped("chorales")


@pytest.mark.slow
def test_all_chorales_load():
    loaded = corpus.read_source(sources.list_shipped("chorales"))
    assert loaded.totals["loaded"] == 364
    assert {score.num_tracks for score in (piece.score for piece in loaded.pieces)} == {4}
