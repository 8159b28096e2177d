"""The built-in corpus: anthem-like pieces in parts, composed from a seed, for use without a network.

A piece is a plan (key, metre, style, form), four motifs, phrases in four voices that return as the form says, an
ensemble that shares their lines out, and a performance. Piece n of a seed depends on nothing but the two numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vae_jax.data.builtin import parts as parts_lib
from vae_jax.data.builtin import tune
from vae_jax.data.builtin.parts import Part, Passage
from vae_jax.data.builtin.performance import perform
from vae_jax.data.builtin.plan import Plan, draw_plan, pick
from vae_jax.data.builtin.tune import Phrase
from vae_jax.music.score import Score

# One stream of randomness for each stage, so that a change in one leaves the others' draws alone.
_PLAN_STREAM, _TUNE_STREAM, _PARTS_STREAM, _PERFORMANCE_STREAM = range(4)


def compose_piece(seed: int, index: int) -> Score:
    """Composes piece `index` of the corpus of `seed`: the same score on any machine.

    Args:
      seed: of the corpus, zero or above.
      index: of the piece, zero or above.

    Raises:
      ValueError: where one of them is negative.
    """
    plan = _plan(seed, index)
    band = parts_lib.draw_parts(_stream(seed, index, _PARTS_STREAM))
    passages = _compose_passages(_stream(seed, index, _TUNE_STREAM), plan, band)
    title = piece_name(seed, index).removesuffix(".mid")
    return perform(_stream(seed, index, _PERFORMANCE_STREAM), plan, band, passages, title)


def piece_name(seed: int, index: int) -> str:
    """Names the file of a piece, such as "builtin_0007_G_major.mid"; unique within its corpus."""
    return f"builtin_{index:04d}_{_plan(seed, index).key_name}.mid"


def compose_corpus(num_pieces: int, seed: int) -> list[tuple[str, Score]]:
    """Composes pieces 0 to num_pieces - 1 of a seed; returns (name, score) of each."""
    return [(piece_name(seed, index), compose_piece(seed, index)) for index in range(num_pieces)]


def _stream(seed: int, index: int, stage: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, index, stage]))


def _plan(seed: int, index: int) -> Plan:
    return draw_plan(_stream(seed, index, _PLAN_STREAM))


def _compose_passages(rng: np.random.Generator, plan: Plan, band: Sequence[Part]) -> list[Passage]:
    """Composes each phrase of the form once and lays the phrases out as passages."""
    motifs = tune.draw_motifs(rng, plan)
    phrases: dict[str, Phrase] = {}
    for name in (name for section in plan.sections for name in section):
        if name not in phrases:
            answered = next((phrases[name[0] + cadence] for cadence in "-." if name[0] + cadence in phrases), None)
            phrases[name] = tune.compose_phrase(rng, plan, name, motifs, answered)

    snare = parts_lib.draw_snare(rng, plan)
    passages: list[Passage] = []
    if plan.has_introduction:
        # A phrase that closes, played in front, is how most anthems are introduced.
        phrase = phrases.get("A.", phrases[plan.sections[-1][-1]])
        passages.append(Passage(phrase, "tutti", "roots", snare, 2, (), opens=True, closes=True, is_last=False))
    for number, section in enumerate(plan.sections):
        is_last_section = number == len(plan.sections) - 1
        texture, bass = pick(rng, plan.style.textures), pick(rng, plan.style.basses)
        # The first section begins with few, the last with most.
        start = int(rng.integers(2)) + (number > 0) + (is_last_section and number > 0)
        resting = () if is_last_section else _draw_resting(rng, band)
        has_returned = section in plan.sections[:number]
        for place, name in enumerate(section):
            is_last = is_last_section and place == len(section) - 1
            intensity = 3 if is_last else min(3, start + 2 * place // len(section))
            passages.append(
                Passage(
                    tune.decorate(phrases[name], plan) if has_returned else phrases[name],
                    texture,
                    bass,
                    snare,
                    intensity,
                    resting,
                    opens=place == 0,
                    closes=place == len(section) - 1,
                    is_last=is_last,
                )
            )
    return passages


def _draw_resting(rng: np.random.Generator, band: Sequence[Part]) -> tuple[int, ...]:
    """Draws which of the parts that are not always needed rests for a section."""
    candidates = [n for n, part in enumerate(band) if part.entry > 0 and not part.is_drum]
    return (candidates[int(rng.integers(len(candidates)))],) if candidates else ()
