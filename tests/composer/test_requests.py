"""Requests as users make them, and the pieces that a hardly trained composer writes for them, all in one batch."""

from __future__ import annotations

import dataclasses
import functools
import pathlib

import numpy as np
import pytest
from beat_scores import meter, score_of

from vae_jax.composer import attributes, generate, notes, requests, stage
from vae_jax.composer.notes import STEPS_PER_BEAT
from vae_jax.composer.requests import Request
from vae_jax.composer.stage import TrainedComposer
from vae_jax.data import synthetic
from vae_jax.data.corpus import Piece
from vae_jax.music import key as key_lib
from vae_jax.music import score as score_lib
from vae_jax.music.key import Tonic
from vae_jax.music.score import EMPTY, KeySignature, Meter, Score
from vae_jax.representations.pianoroll.durations import DURATION_STEPS, duration_classes
from vae_jax.runtime.errors import UserError
from vae_jax.training.experiment import load_experiment

ONE_VOICE = score_of(*((n, 1, 60 + n % 5) for n in range(12)))
PICK_UP = score_of((0, 1, 67), *((n, 1, 72 - n % 3) for n in range(1, 13)), meters=(meter(0, 1), meter(1, 3)))
DRUMS = score_of((0, 1, 38), (1, 1, 42), channel=9)


def piece(score: Score) -> Piece:
    return Piece("tune.mid", "tune", score)


@pytest.fixture(scope="module")
def composer(small_run: pathlib.Path) -> TrainedComposer:
    return stage.load_composer(load_experiment(str(small_run)))


@pytest.fixture(scope="module")
def ensemble(composer: TrainedComposer) -> Piece:
    """A piece of several tracks and drums."""
    scores = (synthetic.make_score(9, n) for n in range(40))
    tune = next(one for one in scores if np.isin(one.notes.pitch[one.notes.is_drum], composer.drums).any())
    return piece(score_lib.cut(tune, 24 * tune.ticks_per_beat))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def asked(composer, ensemble) -> dict[str, Request]:
    sample, go_on = (functools.partial(f, composer) for f in (requests.sample_request, requests.continuation_request))
    vary = functools.partial(requests.variation_request, composer, ensemble)
    return {
        "one bar": sample(rng(), num_bars=1, meter=(4, 4)),
        "waltz": sample(rng(1), num_bars=5, meter=(3, 4), key=Tonic(4, True, 1.0), tempo=72.0),
        "unknown meter": sample(rng(2), num_bars=4, meter=(7, 8), key=Tonic(7, False, 1.0)),
        "as it comes": sample(rng(3), num_bars=8),
        "continuation": go_on(ensemble, 2, 8, rng(4)),
        "one voice": go_on(piece(ONE_VOICE), 2, 6, rng(5)),
        "pick-up": go_on(piece(PICK_UP), 2, 6, rng(6)),
        "variation": vary(0.3, rng(7)),
        "free variation": vary(1.0, rng(8)),
        "between": requests.interpolation_request(composer, ensemble, piece(ONE_VOICE), 0.3),
        "style": requests.sample_request(requests.in_style(composer, ensemble), rng(9), num_bars=4),
        "harmonisation": requests.harmonisation_request(composer, piece(PICK_UP), rng(11)),
        "harmonised ensemble": requests.harmonisation_request(composer, ensemble, rng(12)),
        "denser": attributes.move(composer, sample(rng(10), num_bars=4), {"density": 2.0, "mode": 1.0}),
    }


@pytest.fixture(scope="module")
def composed(composer, asked) -> dict[str, Score]:
    return dict(zip(asked, generate.generate_pieces(composer, list(asked.values()), seed=3), strict=True))


def steps_of(score: Score) -> np.ndarray:
    return np.round(score.notes.onset_ticks * STEPS_PER_BEAT / score.ticks_per_beat).astype(int)


def test_no_piece_is_empty_or_longer_than_asked(asked, composed):
    for name, score in composed.items():
        assert (~score.notes.is_drum).any(), name
        assert score.end_tick * STEPS_PER_BEAT <= asked[name].num_steps * score.ticks_per_beat, name
        assert notes.read_piece(score).last == asked[name].last, name


@pytest.mark.parametrize(
    ("name", "num_bars", "meter", "key"),
    [
        ("one bar", 1, (4, 4), None),
        ("waltz", 5, (3, 4), KeySignature(0, 1, True)),
        ("unknown meter", 4, (7, 8), KeySignature(0, 1, False)),
    ],
)
def test_length_meter_and_key_are_as_asked(asked, composed, name, num_bars, meter, key):
    score, request = composed[name], asked[name]
    first = 1 if request.conditions.pickup else 0
    assert len(request.bars) - 1 - first == num_bars
    assert score.meters[first:] == (Meter(int(request.bars[first]) * 40, *meter),)
    assert key is None or score.keys == (key,)


def test_tempo_is_as_asked(composed, asked):
    assert composed["waltz"].tempos[0].microseconds_per_beat == round(60e6 / 72)
    assert requests._TEMPOS[0] <= asked["as it comes"].conditions.beats_per_minute <= requests._TEMPOS[1]


def test_a_piece_in_a_meter_it_is_not_known_in_has_no_pick_up(asked):
    assert asked["unknown meter"].bars.tolist() == [0, 42, 84, 126, 168]


def test_the_same_seed_writes_the_same_piece(composer, asked, composed):
    again, other = (generate.generate_pieces(composer, list(asked.values()), seed) for seed in (3, 4))
    assert [one.notes.onset_ticks.tolist() for one in again] == [
        one.notes.onset_ticks.tolist() for one in composed.values()
    ]
    assert all(
        np.array_equal(one.notes.velocity, score.notes.velocity)
        for one, score in zip(again, composed.values(), strict=True)
    )
    assert [one.notes.pitch.tolist() for one in other] != [one.notes.pitch.tolist() for one in again]


def test_a_piece_is_the_same_in_another_batch(composer, asked, composed):
    numbers = [2, 7]
    few = [dataclasses.replace([*asked.values()][n], number=n) for n in numbers]
    for n, score in zip(numbers, generate.generate_pieces(composer, few, seed=3), strict=True):
        whole = [*composed.values()][n]
        for column in ("onset_ticks", "duration_ticks", "pitch", "velocity", "track"):
            assert np.array_equal(getattr(score.notes, column), getattr(whole.notes, column)), column


def cells(score: Score, end: int, drums: np.ndarray) -> list[tuple[int, ...]]:
    """Step, pitch and line, or drum, of all notes before a step."""
    table = score.notes
    line = np.unique(np.where(table.is_drum, -1, table.line), return_inverse=True)[1]
    kept = (steps_of(score) < end) & (~table.is_drum | np.isin(table.pitch, drums))
    rows = zip(steps_of(score)[kept].tolist(), table.pitch[kept].tolist(), line[kept].tolist(), strict=True)
    return sorted(set(rows))


@pytest.mark.parametrize("name", ["continuation", "one voice", "pick-up"])
def test_a_prompt_is_kept_to_the_note(composer, ensemble, asked, composed, name):
    """With its tracks and drums; then the piece goes on."""
    prompt = {"continuation": ensemble.score, "one voice": ONE_VOICE, "pick-up": PICK_UP}[name]
    request = asked[name]
    grid = {tuple(row) for row in cells(prompt, request.opening_steps, composer.drums)}
    found = cells(composed[name], request.opening_steps, composer.drums)
    pitched = [row[:2] for row in grid]
    assert sorted({row[:2] for row in found}) == sorted(set(pitched))
    if name != "continuation":  # Tracks of which no later note is written have other numbers.
        assert set(found) == grid
    assert steps_of(composed[name]).max() >= request.opening_steps


def test_tracks_of_a_prompt_play_what_they_played(composer, ensemble, asked, composed):
    request = asked["continuation"]
    by_line = {}
    for score in (ensemble.score, composed["continuation"]):
        rows = cells(score, request.opening_steps, composer.drums)
        lines = {line: frozenset(row[:2] for row in rows if row[2] == line) for line in {row[2] for row in rows}}
        by_line[score is ensemble.score] = sorted(map(sorted, lines.values()))
    assert by_line[True] == by_line[False]


def test_a_pick_up_goes_before_the_first_bar(asked, composed):
    request = asked["pick-up"]
    assert request.bars[:3].tolist() == [0, 12, 48] and len(request.bars) == 6 + 2
    assert [(one.tick, one.numerator) for one in composed["pick-up"].meters] == [(0, 1), (480, 3)]


def test_a_variation_is_told_what_the_original_plays(composer, ensemble, asked):
    """At every step the lag of the form leads to the same step of the original."""
    request = asked["variation"]
    frame = generate.make_frame([request], np.zeros((1, 1, 2)))
    start, source = int(frame.start[0]), notes.read_piece(ensemble.score)
    assert start == source.end and request.num_steps == source.end
    steps = start + source.step
    assert (frame.lags[0, steps, -1] == start).all()
    rows = steps - frame.lags[0, steps, -1]
    assert frame.music.roll[0, rows, source.pitch].all()
    assert frame.music.roll[0].sum() == len(source.step)
    assert frame.plan[0, steps, 1] == pytest.approx(0.7)
    assert (frame.lags[0, steps, :-1] <= source.step[:, None]).all(), "fixed lags stay within the piece"


def test_latents_of_a_variation_move_from_the_original_to_the_prior(composer, ensemble):
    none, some, free = (
        requests.variation_request(composer, ensemble, amount, rng(1)).latents for amount in (0.0, 0.3, 1.0)
    )
    assert none == pytest.approx(stage.encode_phrases(composer, notes.read_piece(ensemble.score)), abs=1e-5)
    noise = rng(1).standard_normal(none.shape)
    assert free == pytest.approx(noise, abs=1e-5)
    assert np.linalg.norm(some - none) < np.linalg.norm(free - none)


def test_an_interpolation_is_of_the_nearer_piece(composer, ensemble):
    first, second = ensemble, piece(ONE_VOICE)
    early, late = (requests.interpolation_request(composer, first, second, share) for share in (0.25, 0.75))
    assert early.num_steps == notes.read_piece(first.score).end
    assert late.num_steps == notes.read_piece(second.score).end
    assert early.form.similarity == pytest.approx(0.5) and late.form.similarity == pytest.approx(0.5)
    assert early.source is not None and late.source is not None
    middle = requests.interpolation_request(composer, first, second, 0.5)
    assert middle.source is None, "half-way nothing is repeated"
    ends = [np.array(requests.interpolation_request(composer, first, second, x).conditions.style) for x in (0, 1)]
    assert np.array(middle.conditions.style) == pytest.approx((ends[0] + ends[1]) / 2)


def test_a_style_is_that_of_one_piece(composer, ensemble, asked):
    request, found = asked["style"], notes.read_piece(ensemble.score)
    assert request.conditions.style == pytest.approx(notes.measure_style(found), abs=1e-4)
    assert request.conditions.drum_rates == pytest.approx(requests._read(composer, ensemble)[1].drum_rates)


@pytest.mark.parametrize("score", [DRUMS, EMPTY], ids=["drums", "silence"])
def test_pieces_without_pitched_notes_are_refused(composer, score):
    for make in (
        lambda: requests.variation_request(composer, piece(score), 0.5, rng()),
        lambda: requests.continuation_request(composer, piece(score), 1, 4, rng()),
        lambda: requests.interpolation_request(composer, piece(ONE_VOICE), piece(score), 0.5),
        lambda: requests.in_style(composer, piece(score)),
    ):
        with pytest.raises(UserError, match=r"^tune\.mid holds no pitched notes$"):
            make()


@pytest.mark.parametrize(
    ("score", "prompt_bars", "num_bars", "message"),
    [
        (ONE_VOICE, 4, 8, "has only 3 full bars"),
        (ONE_VOICE, 2, 2, "leaves nothing to compose"),
        (score_of(*((n, 1, 60) for n in range(12)), meters=(meter(0, 4), meter(4, 3))), 2, 8, "changes meter"),
        (score_of(*((n, 1, 60) for n in range(40)), meters=(meter(0, 20),)), 1, 8, "too long"),
    ],
)
def test_prompts_that_cannot_be_continued(composer, score, prompt_bars, num_bars, message):
    with pytest.raises(UserError, match=message):
        requests.continuation_request(composer, piece(score), prompt_bars, num_bars, rng())


@pytest.mark.parametrize(("text", "found"), [("4/4", (4, 4)), ("6/8", (6, 8)), ("7/16", (7, 16)), ("2/2", (2, 2))])
def test_meters_are_read(text, found):
    assert requests.parse_meter(text) == found


@pytest.mark.parametrize("text", ["4", "4/3", "0/4", "9/4", "4/4/4", "", "-3/4", "1/32"])
def test_meters_that_do_not_exist(text):
    with pytest.raises(UserError, match="--meter"):
        requests.parse_meter(text)


def test_a_request_is_of_a_known_piece_in_its_mode(composer):
    known = {one.minor for one in composer.conditions}
    for minor in known:
        request = requests.sample_request(composer, rng(), key=key_lib.parse_key("Am" if minor else "C"))
        assert request.conditions.minor == minor
        assert any(one.style == request.conditions.style and one.minor == minor for one in composer.conditions)


def test_lengths_are_those_of_known_pieces_within_limits(composer):
    long = dataclasses.replace(composer, conditions=[dataclasses.replace(composer.conditions[0], num_bars=500)])
    assert requests.sample_request(long, rng()).conditions.num_bars == 64
    assert requests.sample_request(long, rng(), num_bars=3).conditions.num_bars == 3


@pytest.mark.parametrize("name", ["harmonisation", "harmonised ensemble"])
def test_a_harmonisation_keeps_the_melody_and_writes_below_it(asked, composed, name):
    melody, score = asked[name].melody, composed[name]
    request = asked[name]
    tonic = Tonic(request.conditions.pitch_class, request.conditions.minor, 1.0)
    written = notes.read_piece(score, tonic)
    where = dict(zip(zip(written.step, written.pitch, strict=True), written.duration, strict=True))
    durations = DURATION_STEPS[duration_classes(melody.duration)]
    columns = melody.step, melody.pitch, melody.duration, durations
    for step, pitch, duration, written_duration in zip(*columns, strict=True):
        assert where[step, pitch] == written_duration
        during = (written.step > step) & (written.step < step + duration)
        assert (written.pitch[during] < pitch).all()
        assert written.pitch[written.step == step].max() == pitch
    assert len(written.step) > len(melody.step)
    own = notes.measure_style(melody)[notes.MELODY_SHARES]
    assert request.conditions.style[notes.MELODY_SHARES] == pytest.approx(own, abs=1e-4)
    assert score.meters == composed[name].meters and np.array_equal(request.bars, request.piece().bars)


def test_an_arrangement_plays_the_same_notes_with_other_instruments(composer, ensemble):
    wanted = [requests.arrangement_request(composer, ensemble, rng(seed)) for seed in (1, 2)]
    source = notes.read_piece(ensemble.score)
    scores = generate.arrange(composer, wanted, [source, source], seed=1)
    tonic = key_lib.estimate_tonic(ensemble.score.notes)
    for request, score in zip(wanted, scores, strict=True):
        written = notes.read_piece(score, tonic)
        np.testing.assert_array_equal(written.step, source.step)
        np.testing.assert_array_equal(written.pitch, source.pitch)
        pitched = score.notes.select(~score.notes.is_drum)
        assert set(pitched.program.tolist()) <= {line.program for line in request.conditions.lines}
        assert request.conditions.lines in [one.lines for one in composer.conditions]


def test_chords_of_another_mode_are_drawn_anew(composer):
    """From a seed that is the chords themselves; in the same mode they stay."""
    request = requests.sample_request(composer, rng(), num_bars=8, key=key_lib.parse_key("C"))
    minor, again, major = (requests.in_mode(composer, request, mode) for mode in (True, True, False))
    assert minor.conditions.minor and np.array_equal(minor.harmony, again.harmony)
    assert not np.array_equal(minor.harmony, request.harmony) and np.array_equal(major.harmony, request.harmony)


def test_chords_are_laid_out_by_bars(composer):
    """In G, after the pick-up: a bar of G, a bar of E minor and D, and again; the last chord fills the bar's rest."""
    g, e_minor, d = 0, 2 * 9 + 1, 2 * 7
    request = requests.sample_request(composer, rng(), num_bars=3, meter=(3, 4), key=key_lib.parse_key("G"))
    first = int(request.bars[len(request.bars) - 4]) // 12
    found = requests.with_chords(request, requests.parse_chords("G Em,D")).piece().harmony[first:]
    assert found.tolist() == [g, g, g, e_minor, e_minor, d, g, g, g]


@pytest.mark.parametrize("text", ["", "C H", "C Am7", "C,,G"])
def test_chords_that_cannot_be_read(text):
    with pytest.raises(UserError, match="--chords"):
        requests.parse_chords(text)
