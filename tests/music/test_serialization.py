import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_jax.data import synthetic
from vae_jax.music import serialization
from vae_jax.music.score import KeySignature, Meter, Tempo, make_notes, make_score

NOTE = st.tuples(st.integers(0, 2**34), st.integers(1, 2**20), st.integers(0, 127), st.integers(0, 15))
NAME = st.text(st.characters(), max_size=5)


@given(st.lists(NOTE, max_size=20), st.lists(NAME, max_size=4), st.integers(1, 0x7FFF))
def test_a_score_comes_back_equal(notes, names, ticks_per_beat):
    onset, duration, pitch, channel = np.array(notes, dtype=np.int64).reshape(-1, 4).T
    score = make_score(
        ticks_per_beat,
        make_notes(onset, duration, pitch, channel=channel),
        track_names=names,
        tempos=[Tempo(0, 500_000), Tempo(7, 1)],
        meters=[Meter(3, 6, 8)],
        keys=[KeySignature(0, -3, True)],
    )
    assert serialization.unpack_score(serialization.pack_score(score)) == score


def test_half_a_surrogate_pair_in_a_name_survives():
    score = make_score(480, make_notes([0], [1], [60]), track_names=["\udcff"])
    assert serialization.unpack_score(serialization.pack_score(score)).track_names == ("\udcff",)


def test_a_note_takes_few_bytes():
    score = synthetic.make_corpus(1, 0)[0][1]
    assert len(serialization.pack_score(score)) < 20 * len(score.notes) + 400


@pytest.mark.parametrize("damage", [b"", b"abc", b"\xff" * 40])
def test_other_bytes_are_refused(damage):
    with pytest.raises(ValueError, match="not a packed score"):
        serialization.unpack_score(damage)


def test_cut_bytes_are_refused():
    packed = serialization.pack_score(make_score(480, make_notes([0, 5], [1, 2], [60, 61])))
    for cut in range(len(packed)):
        with pytest.raises(ValueError, match="not a packed score"):
            serialization.unpack_score(packed[:cut])
