"""Orders for the composer: drawn from what the training pieces are like, or taken from a piece to continue or vary."""

from __future__ import annotations

import dataclasses

import numpy as np

from vae_jax.composer import conditioning, structure
from vae_jax.composer.conditioning import Ensemble
from vae_jax.composer.generate import Order, bar_steps, num_phrases
from vae_jax.composer.stage import TrainedComposer
from vae_jax.composer.structure import Form, phrase_steps
from vae_jax.data.corpus import Piece
from vae_jax.music import quantization as grid_lib
from vae_jax.music.key import Tonic
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.encoding import DURATION, STEP, RollPiece
from vae_jax.runtime.errors import UserError

MAX_BARS = 1000
_BARS_LIKE_CORPUS = (8, 64)


def parse_meter(text: str, composer: TrainedComposer) -> tuple[int, int]:
    """Reads a meter such as 3/4.

    Raises:
      UserError: for anything else, or a meter whose bar does not fit the grid or a window.
    """
    numerator, slash, denominator = text.partition("/")
    digits = numerator.isascii() and numerator.isdigit() and len(numerator) <= 3
    if not (slash and digits and denominator in ("1", "2", "4", "8", "16")):
        raise UserError(f"--meter must be written as 4/4 or 6/8, got {text!r}")
    meter = int(numerator), int(denominator)
    if not _fits(composer, meter):
        longest = composer.stage.representation.window_beats
        raise UserError(f"--meter={text}: a bar must lie on the grid and last {longest} quarter notes at most")
    return meter


def draw_order(
    composer: TrainedComposer, num_bars: int, meter: tuple[int, int], key: Tonic | None, rng: np.random.Generator
) -> Order:
    """Draws players, form and, where it is None, the key of a piece from those of the training pieces."""
    players = _draw_ensemble(composer, key, rng)
    return Order(players, _draw_form(composer, num_bars, meter, 0, rng), num_bars, meter)


def draw_like_corpus(composer: TrainedComposer, rng: np.random.Generator) -> Order:
    """Draws a piece as long as a training piece and in its meter, within limits, with its players."""
    players = _draw_ensemble(composer, None, rng)
    meter = players.meter if _fits(composer, players.meter) else (4, 4)
    num_bars = int(np.clip(players.num_bars, *_BARS_LIKE_CORPUS))
    return Order(players, _draw_form(composer, num_bars, meter, 0, rng), num_bars, meter)


def continue_order(
    composer: TrainedComposer, piece: Piece, prompt_bars: int, num_bars: int, rng: np.random.Generator
) -> Order:
    """Orders a piece that begins with the first full bars of another.

    Raises:
      UserError: where the other has too few bars, or changes meter in them.
    """
    rolled, players = _read(composer, piece)
    meter = players.meter
    first = int(np.searchsorted(rolled.bars, grid_lib.first_downbeat(rolled.bars)))
    if first + prompt_bars >= len(rolled.bars):
        raise UserError(f"{piece.path} has only {len(rolled.bars) - 1 - first} full bars; --prompt_bars={prompt_bars}")
    if prompt_bars >= num_bars:
        raise UserError(f"--bars={num_bars} leaves nothing to compose after --prompt_bars={prompt_bars}")
    begin, end = int(rolled.bars[first]), int(rolled.bars[first + prompt_bars])
    bar = bar_steps(meter, composer.stage.representation.steps_per_beat)
    if end - begin != prompt_bars * bar:
        raise UserError(f"{piece.path} changes meter in its first {prompt_bars} bars; give fewer --prompt_bars")
    mine = (rolled.notes[:, STEP] >= begin) & (rolled.notes[:, STEP] < end)
    opening = rolled.notes[mine] - np.array([begin, 0, 0, 0], dtype=np.int32)
    # A note that is held for long must not outlast the new piece.
    opening[:, DURATION] = np.minimum(opening[:, DURATION], num_bars * bar - opening[:, STEP])
    form = _draw_form(composer, num_bars, meter, end - begin, rng)
    return Order(players, form, num_bars, meter, opening, end - begin)


def vary_order(composer: TrainedComposer, piece: Piece, amount: float) -> Order:
    """Orders a variation of a piece: every phrase follows the original's, the less closely the larger the amount."""
    rolled, players = _read(composer, piece)
    starts = structure.window_starts(rolled)
    bar = bar_steps(players.meter, composer.stage.representation.steps_per_beat)
    num_bars = max(-(-(int(rolled.bars[-1]) - int(starts[0])) // bar), 1)
    phrases = num_phrases(num_bars, bar, rolled.config.window_steps)
    starts = starts[0] + phrase_steps(bar, rolled.config.window_steps) * np.arange(phrases)
    windows = composer.stage.representation.encode_at(rolled, starts)
    models = composer.inference.encode(windows).mean
    form = Form(np.zeros(len(starts), dtype=np.int64), np.full(len(starts), 1.0 - amount))
    return Order(players, form, num_bars, players.meter, models=models)


def _read(composer: TrainedComposer, piece: Piece) -> tuple[RollPiece, Ensemble]:
    """The roll of a piece and its players."""
    config = composer.stage.representation
    rolled = encoding.encode(piece.score, config)
    if not len(rolled.notes):
        raise UserError(f"{piece.path} holds no notes to go on from")
    players = conditioning.read_ensemble(piece.score, rolled)
    if not _fits(composer, players.meter):
        raise UserError(f"{piece.path}: bars of {'/'.join(map(str, players.meter))} are too long or not on the grid")
    return rolled, players


def _fits(composer: TrainedComposer, meter: tuple[int, int]) -> bool:
    """Whether a bar lies on the grid and inside a window."""
    config = composer.stage.representation
    return 0 < bar_steps(meter, config.steps_per_beat) <= config.window_steps


def _draw_ensemble(composer: TrainedComposer, key: Tonic | None, rng: np.random.Generator) -> Ensemble:
    known = list(composer.ensembles)
    if key is None:
        return known[rng.integers(len(known))]
    alike = [players for players in known if players.style.minor == key.minor] or known
    players = alike[rng.integers(len(alike))]
    style = dataclasses.replace(players.style, minor=key.minor)
    return dataclasses.replace(players, style=style, pitch_class=key.pitch_class)


def _draw_form(
    composer: TrainedComposer, num_bars: int, meter: tuple[int, int], opening_steps: int, rng: np.random.Generator
) -> Form:
    """Draws a form for what is written after an opening, which may return to the opening."""
    config = composer.stage.representation
    bar = bar_steps(meter, config.steps_per_beat)
    phrase = phrase_steps(bar, config.window_steps)
    nearest, heard = -(-config.window_steps // phrase), opening_steps // phrase
    count = num_phrases(num_bars, bar, config.window_steps, opening_steps)
    form = composer.form_model.draw(heard + count, nearest, rng)
    return Form(form.back[heard:], form.similarity[heard:])
