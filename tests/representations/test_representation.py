"""The piano roll as a representation: pieces through windows and back, and the cells of its grid."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vae_jax.data import synthetic
from vae_jax.evaluation import note_matching
from vae_jax.music.score import Meter, Score, make_notes, make_score
from vae_jax.representations import arrays
from vae_jax.representations.base import Encoded
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.json_dataclass import from_json, to_json

REPRESENTATION = RollRepresentation()


@pytest.fixture(scope="module", params=range(3))
def piece(request: pytest.FixtureRequest) -> Score:
    return synthetic.make_score(5, request.param)


def test_windows_decode_as_the_whole_piece_does(piece: Score):
    encoded = REPRESENTATION.encode(piece)
    assert REPRESENTATION.decode(encoded) == encoding.decode(encoding.encode(piece, REPRESENTATION))
    assert encoded.report["notes"] == len(piece.notes)
    assert encoded.report["notes_past_max_notes"] == 0


def test_notes_that_exceed_the_list_of_a_window_are_counted():
    score = make_score(480, make_notes(np.arange(100) * 40, 40, 30 + np.arange(100) % 60))
    encoded = RollRepresentation(max_notes=64).encode(score)
    assert encoded.examples.notes.shape[1] == 64
    assert encoded.report["notes_past_max_notes"] == 100 - int(encoded.examples.mask.sum()) == 32


def test_training_windows_start_on_every_beat(piece: Score):
    whole = encoding.encode(piece, REPRESENTATION)
    starts = {int(first) for first in range(int(whole.bars[1]) % 12, whole.num_steps - 96 + 1, 12)}
    starts |= {0, whole.num_steps - 96}
    expected = {
        tuple(sorted((int(n[0]) - start, *map(int, n[1:])) for n in whole.notes if start <= n[0] < start + 96))
        for start in starts
    }
    lists = REPRESENTATION.encode_training(piece)
    found = {
        tuple(sorted(tuple(row) for row in lists.notes[w][lists.mask[w]].tolist()))
        for w in range(arrays.num_examples(lists))
    }
    assert arrays.num_examples(lists) == len(starts)
    assert found == expected


def test_without_a_hop_training_windows_are_those_of_encode(piece: Score):
    plain = RollRepresentation(training_hop_beats=0)
    np.testing.assert_array_equal(plain.encode_training(piece).notes, plain.encode(piece).examples.notes)


def test_training_windows_of_a_long_silence_are_left_out():
    """Four beats of music on either side of 20,000 beats."""
    onsets = np.concatenate([np.arange(4), 20_000 + np.arange(4)]) * 480
    lists = REPRESENTATION.encode_training(make_score(480, make_notes(onsets, 480, 60)))
    assert arrays.num_examples(lists) < 60
    silent = ~lists.mask.any(axis=1)
    assert 0 < silent.sum() < 40
    assert lists.mask[0].sum() == lists.mask[-1].sum() == 4
    rest = make_score(480, make_notes(np.array([0, 1, 2, 3, 10, 11]) * 480, 480, 60))
    assert arrays.num_examples(REPRESENTATION.encode_training(rest)) == 1 + 12 - 8


@pytest.mark.parametrize(
    "score",
    [
        make_score(480, make_notes([0], [480], [60])),
        make_score(480, make_notes([0, 480], [10, 10], [36, 38], channel=9)),
        make_score(96, make_notes([0, 96, 192], 96, [60, 62, 64]), meters=[Meter(0, 3, 4)]),
        make_score(96, make_notes(np.arange(24) * 48, 48, 60), meters=[Meter(0, 6, 8)]),
        make_score(480, make_notes([0, 100], [200, 200], [5, 125])),
        make_score(480, make_notes(np.arange(4000) * 480, 480, 60)),
    ],
    ids=["one note", "drums only", "3/4", "6/8", "outside the range", "half an hour"],
)
def test_every_kind_of_piece_is_encoded_and_decoded(score: Score):
    encoded = REPRESENTATION.encode(score)
    decoded = REPRESENTATION.decode(encoded)
    assert len(decoded.notes) == len(score.notes)
    if encoded.report["notes_folded"]:
        assert encoded.report["notes_folded"] == 2
        np.testing.assert_array_equal(decoded.notes.pitch % 12, score.notes.pitch % 12)
    else:
        assert note_matching.count_matches(score, decoded, drums=bool(score.notes.is_drum[0])).f1 == 1
    assert arrays.num_examples(REPRESENTATION.encode_training(score)) >= 1


def test_contexts_survive_json(piece: Score):
    encoded = REPRESENTATION.encode(piece)
    again = from_json(REPRESENTATION.context_type, json.loads(json.dumps(to_json(encoded.context))))
    assert REPRESENTATION.decode(Encoded(encoded.examples, again)) == REPRESENTATION.decode(encoded)


def test_music_without_an_original_has_consecutive_windows():
    lists = REPRESENTATION.encode(make_score(480, make_notes([0], [480], [60]))).examples
    three = arrays.concatenate([lists] * 3)
    decoded = REPRESENTATION.decode(Encoded(three, REPRESENTATION.context_of_length(3)))
    assert decoded.notes.onset_ticks.tolist() == [0, 8 * 480, 16 * 480]


def test_the_first_full_window_comes_after_a_pick_up():
    notes = make_notes([0, 480, 2400], 480, [60, 62, 64])
    pick_up = make_score(480, notes, meters=[Meter(0, 1, 4), Meter(480, 4, 4)])
    for score, expected in ((pick_up, 1), (make_score(480, notes), 0)):
        assert REPRESENTATION.first_full_example(REPRESENTATION.encode(score).context) == expected


def test_augmentation_fields_are_checked():
    with pytest.raises(UserError, match=r"config\.augment has no field 'flip'; it has transpose_probability"):
        REPRESENTATION.make_augmentation({"flip": 0.5})
    with pytest.raises(UserError, match=r"config\.augment\.mix_probability must be at most 1, got 1\.5"):
        REPRESENTATION.make_augmentation({"mix_probability": 1.5})


# The beat grid.


def test_cells_are_the_onsets_of_the_dense_roll(piece: Score):
    lists = REPRESENTATION.encode(piece).examples
    rolls = np.array(REPRESENTATION.rasterize(lists))
    rolls[..., -1] = 0  # Drums take no part.
    by_part = REPRESENTATION.grid.cells(lists, by_part=True).toarray()
    np.testing.assert_array_equal(by_part, rolls.reshape(len(rolls), -1))
    merged = REPRESENTATION.grid.cells(lists, by_part=False).toarray()
    np.testing.assert_array_equal(merged, rolls.max(axis=-1).reshape(len(rolls), -1))


def test_windows_made_of_cells_have_these_cells(piece: Score):
    lists = REPRESENTATION.encode(piece).examples
    cells = REPRESENTATION.grid.cells(lists, by_part=True)
    made = REPRESENTATION.grid.from_cells(lists, [np.sort(row.indices) for row in cells])
    assert (REPRESENTATION.grid.cells(made, by_part=True) != cells).nnz == 0


def test_matches_of_cells_by_hand():
    def lists_of(*pitches: int) -> Encoded:
        notes = make_notes(np.arange(len(pitches)) * 480, 480, pitches, program=19)
        return RollRepresentation(normalize_tonic=False).encode(make_score(480, notes))

    grid = REPRESENTATION.grid
    counts = grid.count_matches(lists_of(60, 62, 64), lists_of(60, 61, 64, 65, 67).examples, by_part=True)
    assert (counts.matched, counts.reference, counts.estimate) == (2, 3, 4)  # The fifth lies past the last bar.


def test_the_bar_before_by_hand():
    # Two equal bars, then a third with one other note of two: of the four notes copied three are right.
    onset = np.array([0, 480, 1920, 2400, 3840, 4320])
    score = make_score(480, make_notes(onset, 240, [60, 64, 60, 64, 60, 65]))
    counts = REPRESENTATION.grid.count_previous_bar(RollRepresentation(normalize_tonic=False).encode(score))
    assert (counts.matched, counts.reference, counts.estimate) == (3, 6, 4)
