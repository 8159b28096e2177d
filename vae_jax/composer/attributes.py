"""Attributes of the music that can be asked for: density, register, mode and polyphony.

The decoder knows the style of a piece (`notes.measure_style`) and its mode; an attribute is moved by so many standard
deviations of the training pieces. Other measures of the style follow as far as they are correlated with it: the move
of one is C_ab / C_bb times that of the other, with C the covariance over the training pieces.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from vae_jax.composer import notes as notes_lib
from vae_jax.composer import requests
from vae_jax.composer.notes import STYLE_SIZE
from vae_jax.composer.requests import Request
from vae_jax.composer.stage import TrainedComposer
from vae_jax.music.key import Tonic
from vae_jax.music.score import Score
from vae_jax.runtime.errors import UserError

DENSITY, REGISTER, MODE, POLYPHONY = ATTRIBUTES = ("density", "register", "mode", "polyphony")
MAX_AMOUNT = 10.0
_STYLE = {DENSITY: 0, POLYPHONY: 1, REGISTER: 3}  # Columns of the style.
_MINOR, _MAJOR = (3, 8, 10), (4, 9, 11)  # Third, sixth and seventh above the tonic, in semitones.


def move(composer: TrainedComposer, request: Request, amounts: Mapping[str, float]) -> Request:
    """Returns a request whose attributes are moved by so many standard deviations of the training pieces.

    The mode moves by halves: +1 makes half of a major piece minor, +2 all of it, with other chords.
    """
    known = np.array([one.style for one in composer.conditions])
    covariance = np.cov(known, rowvar=False) if len(known) > 1 else np.zeros((STYLE_SIZE, STYLE_SIZE))
    style = np.array(request.conditions.style)
    columns = [_STYLE[name] for name in amounts if name in _STYLE]
    if columns:
        chosen = np.ix_(columns, columns)
        wanted = np.array([amounts[name] for name in amounts if name in _STYLE]) * np.sqrt(np.diag(covariance)[columns])
        style = style + covariance[:, columns] @ np.linalg.lstsq(covariance[chosen], wanted, rcond=None)[0]
    minor = float(request.conditions.minor) + amounts.get(MODE, 0.0) / 2
    conditions = dataclasses.replace(request.conditions, style=tuple(style.tolist()))
    return requests.in_mode(composer, dataclasses.replace(request, conditions=conditions, mode=minor), minor > 0.5)


def measure(score: Score, tonic: Tonic) -> dict[str, float]:
    """Measures the attributes of a piece; nan where a value would be a mean over nothing.

    "density" is the notes a beat, unisons once; "register" their mean MIDI pitch in C; "mode" the share of minor ones
    among the thirds, sixths and sevenths above the tonic; "polyphony" the notes of a chord.
    """
    piece = notes_lib.read_piece(score, tonic)
    degrees = (piece.pitch + notes_lib.MIN_PITCH) % 12
    minor, major = (int(np.isin(degrees, classes).sum()) for classes in (_MINOR, _MAJOR))
    count, chords = len(piece.step), len(np.unique(piece.step))

    def ratio(total: float, number: float) -> float:
        return float(total / number) if number else math.nan

    return {
        DENSITY: ratio(count * notes_lib.STEPS_PER_BEAT, piece.end if count else 0),
        REGISTER: ratio(piece.pitch.sum() + notes_lib.MIN_PITCH * count, count),
        MODE: ratio(minor, minor + major),
        POLYPHONY: ratio(count, chords),
    }


def parse_attribute(text: str) -> tuple[str, float]:
    """Reads "density:+1.5" as ("density", 1.5). Raises UserError for an unknown name, or an amount that is no number
    from -10 to 10."""
    name, colon, amount = text.partition(":")
    if name not in ATTRIBUTES or not colon:
        raise UserError(f"{text!r}: an attribute is written NAME:AMOUNT, the name one of {', '.join(ATTRIBUTES)}")
    try:
        value = float(amount)
    except ValueError:
        value = math.nan
    if not abs(value) <= MAX_AMOUNT:
        raise UserError(f"{text!r}: the amount must be a number from {-MAX_AMOUNT:g} to {MAX_AMOUNT:g}")
    return name, value
