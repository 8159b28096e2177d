"""The piano roll as a representation: pieces through beats and back, and the cells of its grid."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.sparse

from vae_jax.data import synthetic
from vae_jax.evaluation import note_matching
from vae_jax.music import instruments
from vae_jax.music.score import KeySignature, Meter, Score, Tempo, make_notes, make_score
from vae_jax.representations import arrays
from vae_jax.representations.base import Encoded
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.beat_grid import RollGrid
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.json_dataclass import from_json, to_json

REPRESENTATION = RollRepresentation()


def dense_onsets(lists: BeatLists) -> np.ndarray:
    """The pitched onsets of a piece, [W, S, P, C], by a loop."""
    rolls = np.zeros((len(lists.mask), *REPRESENTATION.example_shape), np.uint8)
    for beat, place in np.argwhere(lists.mask):
        step, part, pitch, _ = lists.notes[beat, place].tolist()
        rolls[beat, step, pitch, part] = part != instruments.DRUMS
    return rolls


@pytest.fixture(scope="module", params=range(3))
def piece(request: pytest.FixtureRequest) -> Score:
    return synthetic.make_score(5, request.param)


def test_beats_decode_as_the_whole_piece_does(piece: Score):
    encoded = REPRESENTATION.encode(piece)
    assert REPRESENTATION.decode(encoded) == encoding.decode(encoding.encode(piece, REPRESENTATION))
    assert encoded.report["notes"] == len(piece.notes)
    assert encoded.report["notes_past_max_notes"] == 0


def test_there_is_a_beat_for_every_step_of_the_piece(piece: Score):
    encoded = REPRESENTATION.encode(piece)
    steps = encoded.context.num_steps
    assert arrays.num_examples(encoded.examples) == -(-steps // 12) > 20
    assert encoded.examples.inside.all()


def test_notes_that_exceed_the_list_of_a_beat_are_counted():
    score = make_score(480, make_notes(np.repeat([0, 960], 20), 40, np.tile(40 + np.arange(20), 2)))
    encoded = RollRepresentation(max_notes=16).encode(score)
    assert encoded.examples.notes.shape == (4, 16, 4)
    assert encoded.examples.mask.sum(axis=1).tolist() == [16, 0, 16, 0]
    assert encoded.report["notes_past_max_notes"] == 8


def test_training_crops_are_stretches_of_the_piece(piece: Score):
    whole = REPRESENTATION.encode(piece).examples
    crops = RollRepresentation(crop_beats=16, training_hop_beats=5).encode_training(piece)
    last = len(whole.mask) - 16
    starts = sorted({*range(0, last + 1, 5), last})
    assert crops.notes.shape == (len(starts), 16, *whole.notes.shape[1:])
    for n, start in enumerate(starts):
        np.testing.assert_array_equal(crops.notes[n], whole.notes[start : start + 16])
    assert crops.inside.all()


def test_training_crops_of_a_long_silence_are_left_out():
    """Four beats of music on either side of 20,000 beats."""
    onsets = np.concatenate([np.arange(4), 20_000 + np.arange(4)]) * 480
    score = make_score(480, make_notes(onsets, 480, 60))
    crops = RollRepresentation(crop_beats=8, training_hop_beats=4).encode_training(score)
    assert [int(mask.sum()) for mask in crops.mask] == [4, 4]
    silent = RollRepresentation(crop_beats=8).encode_training(make_score(480, make_notes([], [], [])))
    assert arrays.num_examples(silent) == 1


@pytest.mark.parametrize(
    "score",
    [
        make_score(480, make_notes([], [], [])),
        make_score(480, make_notes([0], [480], [60])),
        make_score(480, make_notes([0, 480], [10, 10], [36, 38], channel=9)),
        make_score(96, make_notes([0, 96, 192], 96, [60, 62, 64]), meters=[Meter(0, 3, 4)]),
        make_score(96, make_notes(np.arange(24) * 48, 48, 60), meters=[Meter(0, 6, 8)]),
        make_score(480, make_notes([0, 100], [200, 200], [5, 125])),
        make_score(480, make_notes(np.arange(4000) * 480, 480, 60)),
    ],
    ids=["silence", "one note", "drums only", "3/4", "6/8", "outside the range", "half an hour"],
)
def test_every_kind_of_piece_is_encoded_and_decoded(score: Score):
    encoded = REPRESENTATION.encode(score)
    decoded = REPRESENTATION.decode(encoded)
    assert len(decoded.notes) == len(score.notes)
    if encoded.report["notes_folded"]:
        assert encoded.report["notes_folded"] == 2
        np.testing.assert_array_equal(decoded.notes.pitch % 12, score.notes.pitch % 12)
    elif len(score.notes):
        assert note_matching.count_matches(score, decoded, drums=bool(score.notes.is_drum[0])).f1 == 1
    assert REPRESENTATION.encode_training(score).mask.shape[1:] == (32, 48)


def test_contexts_survive_json(piece: Score):
    encoded = REPRESENTATION.encode(piece)
    again = from_json(REPRESENTATION.context_type, json.loads(json.dumps(to_json(encoded.context))))
    assert REPRESENTATION.decode(Encoded(encoded.examples, again)) == REPRESENTATION.decode(encoded)


def test_music_without_an_original_has_consecutive_beats():
    lists = REPRESENTATION.encode(make_score(480, make_notes([0], [480], [60]))).examples
    three = arrays.concatenate([lists] * 3)
    decoded = REPRESENTATION.decode(Encoded(three, REPRESENTATION.context_of_length(12)))
    assert decoded.notes.onset_ticks.tolist() == [0, 4 * 480, 8 * 480]


def test_notes_end_with_the_last_bar():
    lists = REPRESENTATION.encode(make_score(480, make_notes([0, 480], [9600, 480], [60, 62]))).examples
    cut = arrays.take(lists, slice(4))
    decoded = REPRESENTATION.decode(Encoded(cut, REPRESENTATION.context_of_length(4)))
    assert decoded.notes.onset_ticks.tolist() == [0, 480] and decoded.notes.duration_ticks.tolist() == [1920, 480]


def test_the_context_between_two_pieces_by_hand():
    """In equal ratios of tempo; meter, key and instruments of the nearer end, at its first full beat."""
    pick_up = [Meter(0, 1, 4), Meter(480, 3, 4)]
    slow = make_score(
        480,
        make_notes(np.arange(20) * 480, 480, [62, 66, 69, 74] * 5, program=60, velocity=50),
        tempos=[Tempo(0, 300_000), Tempo(480, 1_000_000)],
        meters=pick_up,
        keys=[KeySignature(0, 2)],
    )
    fast = make_score(
        96, make_notes(np.arange(20) * 96, 96, [64, 67, 71] * 6 + [64] * 2), tempos=[Tempo(0, 250_000)],
        meters=[Meter(0, 6, 8)], keys=[KeySignature(0, 1, True)],
    )  # fmt: skip
    contexts = [REPRESENTATION.encode(score).context for score in (slow, fast)]
    rolls = [REPRESENTATION.context_between(*contexts, fraction, 8) for fraction in (0.0, 0.25, 0.5, 1.0)]
    assert [one.tempos[0].microseconds_per_beat for one in rolls] == [1_000_000, 707_107, 500_000, 250_000]
    assert [(one.meters[0].numerator, one.meters[0].denominator) for one in rolls] == [(3, 4)] * 2 + [(6, 8)] * 2
    assert [(one.keys[0].fifths, one.keys[0].minor) for one in rolls] == [(2, False)] * 2 + [(1, True)] * 2
    assert [one.transposition for one in rolls] == [-2, -2, -4, -4]
    part = instruments.assign_parts(slow)[0]
    assert [[track.program for track in one.tracks[part]] for one in rolls] == [[60], [60], [60], []]
    assert rolls[0].velocities[0, part] == 50
    assert rolls[0].bars[1] == 36 and rolls[3].bars[1] == 36


def test_a_meter_off_the_grid_gives_bars_of_four_beats():
    odd = make_score(480, make_notes(np.arange(20) * 480, 480, 60), meters=[Meter(0, 3, 64)])
    context = REPRESENTATION.encode(odd).context
    assert REPRESENTATION.context_between(context, context, 0.0, 8).bars.tolist() == [0, 48, 96]
    silent = REPRESENTATION.encode(make_score(480, make_notes([], [], []))).context
    assert REPRESENTATION.context_between(silent, silent, 0.5, 4).tempos == (Tempo(0, 500_000),)


def test_the_first_full_beat_comes_after_a_pick_up():
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


@pytest.mark.parametrize("examples_per_row", [1, 8])
def test_cells_are_the_onsets_of_the_dense_roll(piece: Score, examples_per_row: int):
    lists = REPRESENTATION.encode(piece).examples
    grid = RollGrid(REPRESENTATION, examples_per_row)
    rolls = dense_onsets(lists)
    rolls = np.concatenate([rolls, np.zeros((-len(rolls) % examples_per_row, *rolls.shape[1:]), np.uint8)])
    rolls = rolls.reshape(-1, examples_per_row, *rolls.shape[1:])
    np.testing.assert_array_equal(grid.cells(lists, by_part=True).toarray(), rolls.reshape(len(rolls), -1))
    merged = grid.cells(lists, by_part=False).toarray()
    np.testing.assert_array_equal(merged, rolls.max(axis=-1).reshape(len(rolls), -1))


def test_crops_have_windows_of_their_own(piece: Score):
    crops = RollRepresentation(crop_beats=20, training_hop_beats=20).encode_training(piece)
    found = REPRESENTATION.grid.cells(crops, by_part=True)
    each = [REPRESENTATION.grid.cells(arrays.take(crops, n), by_part=True) for n in range(len(crops.mask))]
    assert found.shape[0] == 3 * len(each) > 3
    assert (found != scipy.sparse.vstack(each)).nnz == 0


def test_beats_made_of_cells_have_these_cells(piece: Score):
    lists = REPRESENTATION.encode(piece).examples
    cells = REPRESENTATION.grid.cells(lists, by_part=True)
    made = REPRESENTATION.grid.from_cells(lists, [np.sort(row.indices) for row in cells])
    assert (REPRESENTATION.grid.cells(made, by_part=True) != cells).nnz == 0
    assert np.all(made.notes[made.mask][:, 3] == 1)


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
