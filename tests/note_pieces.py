"""Pieces of the composer, written down note by note in steps of a twelfth of a beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vae_jax.composer.form import Form, measure_form
from vae_jax.composer.harmony import measure_harmony
from vae_jax.composer.notes import STEPS_PER_BEAT, NotePiece, in_order

NoteRow = tuple[int, int, int]  # Step, pitch above MIDI 24 and duration in steps.


def note_piece(
    notes: Sequence[NoteRow],
    bars: Sequence[int] = (0, 48, 96),
    *,
    bar: int = 48,
    form: Form | None = None,
    minor: bool = False,
    tracks: Sequence[int] | None = None,
) -> NotePiece:
    """A piece of notes in any order; all are played by the first track unless said otherwise."""
    step, pitch, duration = np.array(notes, np.int64).reshape(-1, 3).T
    played = np.array([1] * len(step) if tracks is None else tracks, np.int64)
    rows = in_order(step, pitch)[0]
    lines = np.array(bars, np.int64)
    form = form or measure_form(step, pitch, lines, bar)
    harmony = measure_harmony(step, pitch, duration, -(-int(lines[-1]) // STEPS_PER_BEAT))
    return NotePiece(step[rows], pitch[rows], duration[rows], played[rows], lines, bar, minor, form, harmony)


def no_form(start: int = 0, bar: int = 48, num: int = 8) -> Form:
    """A form in which no phrase repeats another."""
    return Form(start, 2 * bar, np.zeros(num, np.int64), np.zeros(num))


# A chord, a single note over the held bass, and a chord like the first, with the inner voice an octave higher up.
CHORDS = ((0, 40, 12), (0, 20, 24), (0, 30, 12), (12, 42, 12), (24, 40, 24), (24, 20, 24), (24, 32, 24))
