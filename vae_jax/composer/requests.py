"""Requests for new pieces: sampled from what the training pieces are like, or made from a piece to continue or vary."""

import dataclasses
import re

import numpy as np

from vae_jax.composer import conditions as conditions_lib
from vae_jax.composer import notes as notes_lib
from vae_jax.composer.conditions import PieceConditions
from vae_jax.composer.form import PHRASE_BARS, Form, FormModel
from vae_jax.composer.notes import NUM_POSITIONS, STEPS_PER_BEAT, NotePiece
from vae_jax.music import key as key_lib
from vae_jax.music import quantization
from vae_jax.music.key import Tonic
from vae_jax.music.score import Score
from vae_jax.runtime.errors import UserError

MAX_BARS = 1000
_SAMPLED_BARS, _TEMPOS = (8, 64), (40.0, 200.0)  # Limits.


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
    """A piece to generate."""

    conditions: PieceConditions
    bars: np.ndarray  # int64, steps at which its bars start, the first of them a pick-up where there is one, and the end.
    form: Form
    opening: NotePiece | None = None  # Music that it begins with, at the same steps, and its length in steps.
    opening_steps: int = 0
    source: NotePiece | None = None  # Music that its phrases repeat, at the same steps, instead of the form's.
    latents: np.ndarray | None = None  # float32 [U + 1, L], of its phrases; drawn from the prior where none are given.

    @property
    def num_steps(self) -> int:
        """Length of the piece."""
        return int(self.bars[-1])

    @property
    def num_phrases(self) -> int:
        """Phrases of the piece, the pick-up in the first."""
        return max(-(-(self.num_steps - self.form.start) // self.form.phrase), 1)

    def piece(self) -> NotePiece:
        """Returns the piece without notes."""
        none = np.zeros(0, np.int64)
        bar = self.form.phrase // PHRASE_BARS
        return NotePiece(none, none, none, none, self.bars, bar, self.conditions.minor, self.form)


def parse_meter(text: str) -> tuple[int, int]:
    """Reads a meter such as 3/4. Raises UserError for anything else, or a meter whose bar does not fit the grid."""
    written = re.fullmatch("([0-9]{1,3})/(1|2|4|8|16)", text)
    if written is None:
        raise UserError(f"--meter must be written as 4/4 or 6/8, got {text!r}")
    meter = int(written[1]), int(written[2])
    if not bar_steps(meter):
        longest = (NUM_POSITIONS - 1) // STEPS_PER_BEAT
        raise UserError(f"--meter={text}: a bar must lie on the grid and last {longest} quarter notes at most")
    return meter


def bar_steps(meter: tuple[int, int]) -> int:
    """Returns the steps of a bar; 0 where it does not lie on the grid or is too long."""
    steps, rest = divmod(4 * STEPS_PER_BEAT * meter[0], meter[1])
    return steps if not rest and steps < NUM_POSITIONS else 0


def sample_request(
    known: list[PieceConditions],
    forms: FormModel,
    rng: np.random.Generator,
    *,
    num_bars: int | None = None,
    meter: tuple[int, int] | None = None,
    key: Tonic | None = None,
    tempo: float | None = None,
) -> Request:
    """Samples the conditions of a piece of those known, and a form.

    Length (within limits), meter, key and tempo are those of the piece unless given; with a key given, it is a piece in
    its mode, and with a meter given one in this meter, where there is one.
    """
    if key is not None:
        known = [one for one in known if one.minor == key.minor] or known
    if meter is not None:
        known = [one for one in known if one.meter == meter] or known
    conditions = known[rng.integers(len(known))]
    if key is not None:
        conditions = dataclasses.replace(conditions, minor=key.minor, pitch_class=key.pitch_class)
    meter = meter or (conditions.meter if bar_steps(conditions.meter) else (4, 4))
    pickup = conditions.pickup if meter == conditions.meter and conditions.pickup < bar_steps(meter) else 0
    conditions = dataclasses.replace(
        conditions,
        beats_per_minute=tempo or float(np.clip(conditions.beats_per_minute, *_TEMPOS)),
        meter=meter,
        pickup=pickup,
        num_bars=num_bars or int(np.clip(conditions.num_bars, *_SAMPLED_BARS)),
    )
    return _with_sampled_form(conditions, forms, rng)


def _with_sampled_form(conditions: PieceConditions, forms: FormModel, rng: np.random.Generator) -> Request:
    bar, pickup = bar_steps(conditions.meter), conditions.pickup
    bars = pickup + np.arange(conditions.num_bars + 1) * bar
    if pickup:
        bars = np.concatenate([[0], bars])
    back, similarity = forms.sample(-(-conditions.num_bars // PHRASE_BARS), rng)
    return Request(conditions, bars, Form(pickup, PHRASE_BARS * bar, back, similarity))


def continuation_request(
    score: Score, name: str, forms: FormModel, prompt_bars: int, num_bars: int, rng: np.random.Generator
) -> Request:
    """Requests a piece that begins with the first full bars of another, and its pick-up.

    Raises UserError where the other has too few bars, or changes meter in them.
    """
    piece, conditions = read_piece(score, name)
    bars = piece.bars[piece.bars >= quantization.first_downbeat(piece.bars)]
    if prompt_bars >= len(bars):
        raise UserError(f"{name} has only {len(bars) - 1} full bars; --prompt_bars={prompt_bars}")
    if prompt_bars >= num_bars:
        raise UserError(f"--bars={num_bars} leaves nothing to compose after --prompt_bars={prompt_bars}")
    bar = bar_steps(conditions.meter)
    if int(bars[prompt_bars] - bars[0]) != prompt_bars * bar:
        raise UserError(f"{name} changes meter in its first {prompt_bars} bars; give fewer --prompt_bars")
    if int(bars[0]) > bar:
        raise UserError(f"{name} starts with more than a bar of another meter")
    end = round(int(bars[prompt_bars]) * score.ticks_per_beat / STEPS_PER_BEAT)
    tempo = round(score.mean_tempo(0, end), 1)
    conditions = dataclasses.replace(conditions, beats_per_minute=tempo, pickup=int(bars[0]), num_bars=num_bars)
    request = _with_sampled_form(conditions, forms, rng)
    return dataclasses.replace(request, opening=piece, opening_steps=int(bars[prompt_bars]))


def variation_request(score: Score, name: str, amount: float, latents: np.ndarray) -> Request:
    """Requests a variation of a piece: every phrase repeats the original's, the less closely the larger the amount.

    `latents` [U + 1, L] are those of its phrases.
    """
    piece, conditions = read_piece(score, name)
    if conditions.num_bars > MAX_BARS:
        raise UserError(f"{name} has {conditions.num_bars:,} bars; a piece of {MAX_BARS:,} at most can be varied")
    form = dataclasses.replace(
        piece.form, back=np.zeros_like(piece.form.back), similarity=np.full(len(piece.form.back), 1.0 - amount)
    )
    source = piece if amount < 1 else None
    return Request(conditions, piece.bars, form, source=source, latents=latents)


def read_piece(score: Score, name: str) -> tuple[NotePiece, PieceConditions]:
    """Returns a piece and its conditions. Raises UserError where it has no pitched notes, or too long bars."""
    piece = notes_lib.read_piece(score)
    if not len(piece.step):
        raise UserError(f"{name} holds no pitched notes to go on from")
    conditions = conditions_lib.read_conditions(score, piece)
    if not bar_steps(conditions.meter):
        raise UserError(f"{name}: bars of {conditions.meter[0]}/{conditions.meter[1]} are too long or not on the grid")
    return piece, conditions


def in_key(tonic: Tonic) -> int:
    """Semitones to transpose notes in C by."""
    return -key_lib.semitones_to(tonic)
