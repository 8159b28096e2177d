"""Composes new pieces with a trained run.

python -m vae_jax.compose --workdir=RUN --num=4 --seed=0 --output=DIR [--bars=32] [--meter=4/4] [--key=G]
    [--temperature=1.0] [--prompt=FILE --prompt_bars=4 | --vary=FILE --amount=0.3] [--attribute=density:+1.5]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from vae_jax.runtime import cli, files
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.text import quantity

if TYPE_CHECKING:
    from vae_jax.composer.generate import Composition
    from vae_jax.composer.requests import Request
    from vae_jax.composer.stage import TrainedComposer

_MIN_BARS = 4  # A shorter piece is cut from one of so many bars: asked for less the composer hardly starts.
_MAX_DRAWS = 20  # Of a piece, until it has a note.


def _make_requests(args: flags.FlagValues, composer: TrainedComposer) -> list[Request]:
    import numpy as np

    from vae_jax.composer import requests
    from vae_jax.data import corpus
    from vae_jax.music import key as key_lib

    rngs = [np.random.default_rng([args.seed, n]) for n in range(args.num)]
    if args.vary:
        return [requests.variation_request(composer, corpus.load_piece(args.vary), args.amount)] * args.num
    if args.prompt:
        piece = corpus.load_piece(args.prompt)
        return [requests.continuation_request(composer, piece, args.prompt_bars, args.bars, rng) for rng in rngs]
    meter = requests.parse_meter(args.meter, composer)
    try:
        key = key_lib.parse_key(args.key) if args.key else None
    except ValueError as error:
        raise UserError(f"--key: {error}") from error
    return [requests.sample_request(composer, rng, num_bars=args.bars, meter=meter, key=key) for rng in rngs]


def _generate(
    composer: TrainedComposer, requests: Sequence[Request], seed: int, temperature: float
) -> list[Composition]:
    """Generates the pieces; draws those again that add no note to what was given. Raises UserError where none comes."""
    import jax

    from vae_jax.composer import generate

    long = [
        dataclasses.replace(one, conditions=dataclasses.replace(one.conditions, num_bars=_MIN_BARS))
        if one.conditions.num_bars < _MIN_BARS
        else one
        for one in requests
    ]
    pieces = generate.generate_pieces(composer, long, jax.random.key(seed), temperature)
    for n in range(1, _MAX_DRAWS):
        silent = [i for i, one in enumerate(requests) if not _has_new_notes(pieces[i], one)]
        if not silent:
            return pieces
        key = jax.random.fold_in(jax.random.key(seed), 2**32 - n)  # No number of a phrase.
        again = generate.generate_pieces(
            composer, long, key, temperature
        )  # All: another batch size has to be compiled.
        for i in silent:
            pieces[i] = again[i]
    raise UserError(
        f"no note was composed in {_MAX_DRAWS} attempts; give more --bars, another --temperature or another --seed"
    )


def _has_new_notes(piece: Composition, request: Request) -> bool:
    steps = piece.roll.notes[:, 0]
    return bool(((steps >= request.opening_steps) & (steps < request.num_steps)).any())


def main() -> None:
    """Composes and writes the pieces."""
    args = cli.flag_values("workdir", "output")
    cli.check_range("temperature", cli.MAX_TEMPERATURE)
    cli.check_range("amount", 1)
    if args.prompt and args.vary:
        raise UserError("--prompt and --vary exclude each other")
    given = [name for name in ("meter", "key") if args[name].present]
    if (args.prompt or args.vary) and given:
        raise UserError(f"--{given[0]} is the piece's own with --prompt and --vary")

    from vae_jax.composer import attributes, stage
    from vae_jax.music import score as score_lib
    from vae_jax.report import artifacts
    from vae_jax.training.experiment import load_experiment

    amounts = dict(attributes.parse_attribute(text) for text in args.attribute)
    run = load_experiment(args.workdir)
    composer = stage.load_composer(run)
    directions = attributes.load(run.folder.attributes, composer.inference.latent_dim) if amounts else None
    requests = _make_requests(args, composer)
    pieces = _generate(composer, requests, args.seed, args.temperature)
    scores = [piece.score for piece in pieces]
    if directions is not None:
        scores = [attributes.move_attributes(composer, piece, directions, amounts) for piece in pieces]
    representation = composer.stage.representation
    scores = [
        score_lib.cut(score, one.num_steps * score.ticks_per_beat // representation.steps_per_beat)
        for score, one in zip(scores, requests, strict=True)
    ]
    artifacts.write_scores(files.make_output(args.output), "composition", scores, representation)
    num_notes = quantity(sum(len(score.notes) for score in scores), "note")
    print(f"{quantity(len(scores), 'piece')} with {num_notes} in {args.output}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "Folder of a trained run.")
    flags.DEFINE_integer("num", 4, "Number of pieces.", lower_bound=1, upper_bound=1000)
    flags.DEFINE_integer("seed", 0, "Seed: the same seed gives the same bytes.", lower_bound=0, upper_bound=2**32 - 1)
    flags.DEFINE_string("output", "", "Folder for the pieces as MIDI and pictures.")
    flags.DEFINE_integer("bars", 32, "Length in bars.", lower_bound=1, upper_bound=1000)
    flags.DEFINE_string("meter", "4/4", "Meter, such as 3/4.")
    flags.DEFINE_string("key", "", "Key, such as G or Am; drawn from those of the training pieces by default.")
    flags.DEFINE_float("temperature", 1.0, "Below 1 more predictable, above 1 more varied.")
    flags.DEFINE_string("prompt", "", "A MIDI file to continue.")
    flags.DEFINE_integer("prompt_bars", 4, "Number of its first full bars to keep.", lower_bound=1)
    flags.DEFINE_string("vary", "", "A MIDI file to vary.")
    flags.DEFINE_float("amount", 0.3, "How far a variation departs from its original: 0 little, 1 freely.")
    flags.DEFINE_multi_string(
        "attribute", [], "An attribute of the music and by how many standard deviations to move it: density:+1.5"
    )
    cli.run(main)
