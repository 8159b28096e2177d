"""Requests for new pieces: sampled from what the training pieces are like, or made from a piece to continue or vary."""

import dataclasses
import re

import numpy as np

from vae_jax.composer import conditioning, structure
from vae_jax.composer.conditioning import PieceConditions
from vae_jax.composer.network import NO_LINK
from vae_jax.composer.stage import TrainedComposer
from vae_jax.composer.structure import Form
from vae_jax.data.corpus import Piece
from vae_jax.music.key import Tonic
from vae_jax.music.quantization import first_downbeat
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.config import DURATION, STEP
from vae_jax.representations.pianoroll.encoding import RollPiece
from vae_jax.runtime.errors import UserError

MAX_BARS = 1000
_SAMPLED_BARS, _SAMPLED_TEMPOS = (8, 64), (40.0, 200.0)  # Limits.


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
    """A piece to generate."""

    conditions: PieceConditions
    form: Form  # Of the U phrases to generate.
    bar_steps: int
    phrase_steps: int  # As many whole bars as fit into a window.
    opening_steps: int = 0  # Whole bars.
    opening: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 4), np.int32))  # Notes [N, 4].
    references: np.ndarray | None = None  # [U, Z], what each phrase repeats if not an earlier window of the piece.

    @property
    def num_steps(self) -> int:
        """Length of the piece."""
        return self.conditions.num_bars * self.bar_steps

    @property
    def num_phrases(self) -> int:
        """U."""
        return len(self.form.back)

    def phrase(self, n: int) -> tuple[int, int, float]:
        """Returns the start of phrase n, the start of the window that it repeats, and their similarity or NO_LINK."""
        start, back = self.opening_steps + n * self.phrase_steps, int(self.form.back[n])
        is_linked = back > 0 or self.references is not None
        return start, start - back * self.phrase_steps, float(self.form.similarity[n]) if is_linked else NO_LINK


def parse_meter(text: str, composer: TrainedComposer) -> tuple[int, int]:
    """Reads a meter such as 3/4. Raises UserError for anything else, or a meter whose bar does not fit the grid or a
    window."""
    written = re.fullmatch("([0-9]{1,3})/(1|2|4|8|16)", text)
    if written is None:
        raise UserError(f"--meter must be written as 4/4 or 6/8, got {text!r}")
    meter = int(written[1]), int(written[2])
    if not bar_steps(composer, meter):
        longest = composer.stage.representation.window_beats
        raise UserError(f"--meter={text}: a bar must lie on the grid and last {longest} quarter notes at most")
    return meter


def bar_steps(composer: TrainedComposer, meter: tuple[int, int]) -> int:
    """Returns the steps of a bar; 0 where it does not lie on the grid or is longer than a window."""
    config = composer.stage.representation
    steps, rest = divmod(4 * config.steps_per_beat * meter[0], meter[1])
    return steps if not rest and steps <= config.window_steps else 0


def sample_request(
    composer: TrainedComposer,
    rng: np.random.Generator,
    *,
    num_bars: int | None = None,
    meter: tuple[int, int] | None = None,
    key: Tonic | None = None,
) -> Request:
    """Samples the conditions of a training piece and a form.

    Length (within limits), meter and key are those of the training piece unless given; with a key given, the training
    piece is one in its mode where there is one.
    """
    known = list(composer.piece_conditions)
    if key is not None:
        known = [one for one in known if one.style.minor == key.minor] or known
    conditions = known[rng.integers(len(known))]
    tempo = float(np.clip(conditions.beats_per_minute, *_SAMPLED_TEMPOS))
    conditions = dataclasses.replace(conditions, beats_per_minute=tempo)
    if key is not None:
        style = dataclasses.replace(conditions.style, minor=key.minor)
        conditions = dataclasses.replace(conditions, style=style, pitch_class=key.pitch_class)
    meter = meter or (conditions.meter if bar_steps(composer, conditions.meter) else (4, 4))
    num_bars = num_bars or int(np.clip(conditions.num_bars, *_SAMPLED_BARS))
    return _with_sampled_form(composer, dataclasses.replace(conditions, meter=meter, num_bars=num_bars), rng)


def continuation_request(
    composer: TrainedComposer, piece: Piece, prompt_bars: int, num_bars: int, rng: np.random.Generator
) -> Request:
    """Requests a piece that begins with the first full bars of another. Raises UserError where the other has too few
    bars, or changes meter in them."""
    roll, conditions = _read(composer, piece)
    bars = roll.bars[roll.bars >= first_downbeat(roll.bars)]
    if prompt_bars >= len(bars):
        raise UserError(f"{piece.path} has only {len(bars) - 1} full bars; --prompt_bars={prompt_bars}")
    if prompt_bars >= num_bars:
        raise UserError(f"--bars={num_bars} leaves nothing to compose after --prompt_bars={prompt_bars}")
    start, length = int(bars[0]), int(bars[prompt_bars] - bars[0])
    bar = bar_steps(composer, conditions.meter)
    if length != prompt_bars * bar:
        raise UserError(f"{piece.path} changes meter in its first {prompt_bars} bars; give fewer --prompt_bars")
    steps = roll.notes[:, STEP]
    ticks = roll.grid.ticks(np.array([start, start + length]))
    conditions = dataclasses.replace(conditions, beats_per_minute=round(piece.score.mean_tempo(*ticks.tolist()), 1))
    opening = roll.notes[(steps >= start) & (steps < start + length)] - np.array([start, 0, 0, 0], dtype=np.int32)
    # No note outlasts the new piece.
    opening[:, DURATION] = np.minimum(opening[:, DURATION], num_bars * bar - opening[:, STEP])
    request = _with_sampled_form(composer, dataclasses.replace(conditions, num_bars=num_bars), rng, length)
    return dataclasses.replace(request, opening=opening)


def variation_request(composer: TrainedComposer, piece: Piece, amount: float) -> Request:
    """Requests a variation of a piece: every phrase repeats the original's, the less closely the larger the amount."""
    roll, conditions = _read(composer, piece)
    representation, bar = composer.stage.representation, bar_steps(composer, conditions.meter)
    phrase = structure.phrase_steps(bar, representation.window_steps)
    first = first_downbeat(roll.bars)
    num_bars = max(-(-(int(roll.bars[-1]) - first) // bar), 1)
    if num_bars > MAX_BARS:
        raise UserError(f"{piece.path} has {num_bars:,} bars; a piece of {MAX_BARS:,} at most can be varied")
    starts = np.arange(first, first + num_bars * bar, phrase)
    references = composer.inference.encode(representation.encode_at(roll, starts))
    form = Form(np.zeros(len(starts), dtype=np.int64), np.full(len(starts), 1.0 - amount))
    return Request(dataclasses.replace(conditions, num_bars=num_bars), form, bar, phrase, references=references)


def _read(composer: TrainedComposer, piece: Piece) -> tuple[RollPiece, PieceConditions]:
    """The roll of a piece and its conditions."""
    roll = encoding.encode(piece.score, composer.stage.representation)
    if not len(roll.notes):
        raise UserError(f"{piece.path} holds no notes to go on from")
    conditions = conditioning.read_conditions(piece.score, roll)
    unfit = [one for one in piece.score.meters if not bar_steps(composer, (one.numerator, one.denominator))]
    if unfit and bar_steps(composer, conditions.meter) != conditioning.usual_bar_steps(roll):
        meter = f"{unfit[0].numerator}/{unfit[0].denominator}"
        raise UserError(f"{piece.path}: bars of {meter} are too long or not on the grid")
    return roll, conditions


def _with_sampled_form(
    composer: TrainedComposer, conditions: PieceConditions, rng: np.random.Generator, opening_steps: int = 0
) -> Request:
    """Samples a form for what follows an opening, which may repeat the opening."""
    window_steps, bar = composer.stage.representation.window_steps, bar_steps(composer, conditions.meter)
    phrase = structure.phrase_steps(bar, window_steps)
    num_given, num_phrases = opening_steps // phrase, -(-(conditions.num_bars * bar - opening_steps) // phrase)
    form = composer.form_model.sample(num_given + num_phrases, -(-window_steps // phrase), rng)
    form = Form(form.back[num_given:], form.similarity[num_given:])
    return Request(conditions, form, bar, phrase, opening_steps=opening_steps)
