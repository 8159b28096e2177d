"""Requests for new pieces: sampled from what the training pieces are like, or made from a piece to continue or vary."""

from __future__ import annotations

import dataclasses

import numpy as np

from vae_jax.composer import conditioning, structure
from vae_jax.composer.conditioning import Instrumentation
from vae_jax.composer.generate import Request, bar_steps
from vae_jax.composer.stage import TrainedComposer
from vae_jax.composer.structure import Form
from vae_jax.data.corpus import Piece
from vae_jax.music.key import Tonic
from vae_jax.music.quantization import first_downbeat
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.encoding import DURATION, STEP, RollPiece
from vae_jax.runtime.errors import UserError

MAX_BARS = 1000
_SAMPLED_BARS = (8, 64)  # Limits.


def parse_meter(text: str, composer: TrainedComposer) -> tuple[int, int]:
    """Reads a meter such as 3/4.

    Raises:
      UserError: for anything else, or a meter whose bar does not fit the grid or a window.
    """
    numerator, slash, denominator = text.partition("/")
    is_number = numerator.isascii() and numerator.isdigit() and len(numerator) <= 3
    if not (slash and is_number and denominator in ("1", "2", "4", "8", "16")):
        raise UserError(f"--meter must be written as 4/4 or 6/8, got {text!r}")
    meter = int(numerator), int(denominator)
    if not _fits(composer, meter):
        longest = composer.stage.representation.window_beats
        raise UserError(f"--meter={text}: a bar must lie on the grid and last {longest} quarter notes at most")
    return meter


def sample_request(
    composer: TrainedComposer,
    rng: np.random.Generator,
    *,
    num_bars: int | None = None,
    meter: tuple[int, int] | None = None,
    key: Tonic | None = None,
) -> Request:
    """Samples the instrumentation of a training piece and a form.

    Length (within limits), meter and key are those of the training piece unless given; with a key given, the training
    piece is one in its mode where there is one.
    """
    known = list(composer.instrumentations)
    if key is not None:
        known = [one for one in known if one.style.minor == key.minor] or known
    instrumentation = known[rng.integers(len(known))]
    if key is not None:
        style = dataclasses.replace(instrumentation.style, minor=key.minor)
        instrumentation = dataclasses.replace(instrumentation, style=style, pitch_class=key.pitch_class)
    if meter is None:
        meter = instrumentation.meter if _fits(composer, instrumentation.meter) else (4, 4)
    if num_bars is None:
        num_bars = int(np.clip(instrumentation.num_bars, *_SAMPLED_BARS))
    return _with_sampled_form(composer, instrumentation, num_bars, meter, rng)


def continuation_request(
    composer: TrainedComposer, piece: Piece, prompt_bars: int, num_bars: int, rng: np.random.Generator
) -> Request:
    """Requests a piece that begins with the first full bars of another.

    Raises:
      UserError: where the other has too few bars, or changes meter in them.
    """
    roll, instrumentation = _read(composer, piece)
    bars = roll.bars[roll.bars >= first_downbeat(roll.bars)]
    if prompt_bars >= len(bars):
        raise UserError(f"{piece.path} has only {len(bars) - 1} full bars; --prompt_bars={prompt_bars}")
    if prompt_bars >= num_bars:
        raise UserError(f"--bars={num_bars} leaves nothing to compose after --prompt_bars={prompt_bars}")
    start, length = int(bars[0]), int(bars[prompt_bars] - bars[0])
    bar = bar_steps(instrumentation.meter, composer.stage.representation.steps_per_beat)
    if length != prompt_bars * bar:
        raise UserError(f"{piece.path} changes meter in its first {prompt_bars} bars; give fewer --prompt_bars")
    steps = roll.notes[:, STEP]
    opening = roll.notes[(steps >= start) & (steps < start + length)] - np.array([start, 0, 0, 0], dtype=np.int32)
    # No note outlasts the new piece.
    opening[:, DURATION] = np.minimum(opening[:, DURATION], num_bars * bar - opening[:, STEP])
    request = _with_sampled_form(composer, instrumentation, num_bars, instrumentation.meter, rng, length)
    return dataclasses.replace(request, opening=opening)


def variation_request(composer: TrainedComposer, piece: Piece, amount: float) -> Request:
    """Requests a variation of a piece: every phrase repeats the original's, the less closely the larger the amount."""
    roll, instrumentation = _read(composer, piece)
    representation, meter = composer.stage.representation, instrumentation.meter
    bar = bar_steps(meter, representation.steps_per_beat)
    phrase = structure.phrase_steps(bar, representation.config.window_steps)
    first = first_downbeat(roll.bars)
    num_bars = max(-(-(int(roll.bars[-1]) - first) // bar), 1)
    starts = np.arange(first, first + num_bars * bar, phrase)
    references = composer.inference.encode(representation.encode_at(roll, starts)).mean
    form = Form(np.zeros(len(starts), dtype=np.int64), np.full(len(starts), 1.0 - amount))
    return Request(instrumentation, form, num_bars, meter, bar, phrase, references=references)


def _read(composer: TrainedComposer, piece: Piece) -> tuple[RollPiece, Instrumentation]:
    """The roll of a piece and its instrumentation."""
    roll = encoding.encode(piece.score, composer.stage.representation.config)
    if not len(roll.notes):
        raise UserError(f"{piece.path} holds no notes to go on from")
    instrumentation = conditioning.read_instrumentation(piece.score, roll)
    if not _fits(composer, instrumentation.meter):
        meter = "/".join(map(str, instrumentation.meter))
        raise UserError(f"{piece.path}: bars of {meter} are too long or not on the grid")
    return roll, instrumentation


def _fits(composer: TrainedComposer, meter: tuple[int, int]) -> bool:
    """Whether a bar lies on the grid and inside a window."""
    config = composer.stage.representation.config
    return 0 < bar_steps(meter, config.steps_per_beat) <= config.window_steps


def _with_sampled_form(
    composer: TrainedComposer,
    instrumentation: Instrumentation,
    num_bars: int,
    meter: tuple[int, int],
    rng: np.random.Generator,
    opening_steps: int = 0,
) -> Request:
    """Samples a form for what follows an opening, which may repeat the opening."""
    config = composer.stage.representation.config
    bar = bar_steps(meter, config.steps_per_beat)
    phrase = structure.phrase_steps(bar, config.window_steps)
    nearest, num_given = -(-config.window_steps // phrase), opening_steps // phrase
    count = -(-(num_bars * bar - opening_steps) // phrase)
    form = composer.form_model.sample(num_given + count, nearest, rng)
    form = Form(form.back[num_given:], form.similarity[num_given:])
    return Request(instrumentation, form, num_bars, meter, bar, phrase, opening_steps=opening_steps)
