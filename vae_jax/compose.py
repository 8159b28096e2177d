"""Composes new pieces with a trained run.

python -m vae_jax.compose --workdir=RUN --num=4 --seed=0 --output=DIR [--bars=32] [--meter=4/4] [--key=G] [--tempo=100]
    [--temperature=1.0] [--style_of=FILE | --prompt=FILE --prompt_bars=4 | --vary=FILE --amount=0.3]
    [--attribute=density:+1.5]
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from absl import flags

from vae_jax.runtime import cli, files
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.text import quantity

if TYPE_CHECKING:
    from vae_jax.composer.requests import Request
    from vae_jax.composer.stage import TrainedComposer

_MIN_TEMPO, _MAX_TEMPO = 10, 400


def _make_requests(args: flags.FlagValues, composer: TrainedComposer) -> list[Request]:
    import numpy as np

    from vae_jax.composer import attributes, requests
    from vae_jax.data import corpus
    from vae_jax.music import key as key_lib

    amounts = dict(attributes.parse_attribute(text) for text in args.attribute)
    rngs = [np.random.default_rng([args.seed, n]) for n in range(args.num)]
    if args.vary:
        piece = corpus.load_piece(args.vary)
        found = [requests.variation_request(composer, piece, args.amount, rng) for rng in rngs]
    elif args.prompt:
        piece = corpus.load_piece(args.prompt)
        found = [requests.continuation_request(composer, piece, args.prompt_bars, args.bars, rng) for rng in rngs]
    else:
        meter = requests.parse_meter(args.meter)
        try:
            key = key_lib.parse_key(args.key) if args.key else None
        except ValueError as error:
            raise UserError(f"--key: {error}") from error
        if args.style_of:
            composer = requests.in_style(composer, corpus.load_piece(args.style_of))
        found = [requests.sample_request(composer, rng, num_bars=args.bars, meter=meter, key=key) for rng in rngs]
    if args.tempo:
        found = [
            dataclasses.replace(one, conditions=dataclasses.replace(one.conditions, beats_per_minute=args.tempo))
            for one in found
        ]
    return [attributes.move(composer, one, amounts) for one in found] if amounts else found


def main() -> None:
    """Composes and writes the pieces."""
    args = cli.flag_values("workdir", "output")
    cli.check_range("temperature", cli.MAX_TEMPERATURE)
    cli.check_range("amount", 1)
    sources = [name for name in ("prompt", "vary", "style_of") if args[name].value]
    if len(sources) > 1:
        raise UserError(f"--{sources[0]} and --{sources[1]} exclude each other")
    given = [name for name in ("meter", "key") if args[name].present]
    if (args.prompt or args.vary) and given:
        raise UserError(f"--{given[0]} is the piece's own with --prompt and --vary")
    if args.tempo and not _MIN_TEMPO <= args.tempo <= _MAX_TEMPO:
        raise UserError(f"--tempo must be from {_MIN_TEMPO} to {_MAX_TEMPO} quarter notes a minute, got {args.tempo:g}")

    from vae_jax.composer import generate, stage
    from vae_jax.report import artifacts
    from vae_jax.training.experiment import load_experiment

    composer = stage.load_composer(load_experiment(args.workdir))
    scores = generate.generate_pieces(composer, _make_requests(args, composer), args.seed, args.temperature)
    artifacts.write_scores(files.make_output(args.output), "composition", scores)
    num_notes = quantity(sum(len(score.notes) for score in scores), "note")
    print(f"{quantity(len(scores), 'piece')} with {num_notes} in {args.output}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "pretrained", "Folder of a trained run; by default the one that is shipped.")
    flags.DEFINE_integer("num", 4, "Number of pieces.", lower_bound=1, upper_bound=1000)
    flags.DEFINE_integer("seed", 0, "Seed: the same seed gives the same bytes.", lower_bound=0, upper_bound=2**32 - 1)
    flags.DEFINE_string("output", "", "Folder for the pieces as MIDI and pictures.")
    flags.DEFINE_integer("bars", 32, "Length in bars, without the pick-up.", lower_bound=1, upper_bound=1000)
    flags.DEFINE_string("meter", "4/4", "Meter, such as 3/4.")
    flags.DEFINE_string("key", "", "Key, such as G or Am; drawn from those of the training pieces by default.")
    flags.DEFINE_float("tempo", 0.0, "Quarter notes a minute; by default those of a training piece or the file's.")
    flags.DEFINE_float("temperature", 1.0, "Below 1 more predictable, above 1 more varied.")
    flags.DEFINE_string("style_of", "", "A MIDI file whose style, instruments and dynamics to take.")
    flags.DEFINE_string("prompt", "", "A MIDI file to continue.")
    flags.DEFINE_integer("prompt_bars", 4, "Number of its first full bars to keep.", lower_bound=1)
    flags.DEFINE_string("vary", "", "A MIDI file to vary.")
    flags.DEFINE_float("amount", 0.3, "How far a variation departs from its original: 0 little, 1 freely.")
    flags.DEFINE_multi_string(
        "attribute", [], "An attribute of the music and by how many standard deviations to move it: density:+1.5"
    )
    cli.run(main)
