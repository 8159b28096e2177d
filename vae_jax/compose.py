"""New pieces from a trained run.

python -m vae_jax.compose --workdir=RUN --num=4 --seed=0 --output=DIR [--bars=32] [--meter=4/4] [--key=G]
    [--temperature=1.0] [--prompt=FILE --prompt_bars=4 | --vary=FILE --amount=0.3] [--attribute=density:+1.5]
"""

from __future__ import annotations

import pathlib

import jax
import numpy as np
from absl import flags

from vae_jax.composer import attributes, generate, requests
from vae_jax.composer.requests import Request
from vae_jax.composer.stage import TrainedComposer, load_composer
from vae_jax.data import corpus
from vae_jax.music import key as key_lib
from vae_jax.report import artifacts
from vae_jax.runtime import cli
from vae_jax.runtime.errors import UserError
from vae_jax.training.experiment import load_experiment

DEFAULT_BARS, DEFAULT_METER = 32, "4/4"
MAX_TEMPERATURE = 100.0  # Far beyond it even what cannot follow would be drawn.


def _read_piece(path: str) -> corpus.Piece:
    return corpus.load_corpus(path).pieces[0]


def _requests(args: flags.FlagValues, composer: TrainedComposer) -> list[Request]:
    """Makes the requests that the flags describe."""
    if args.prompt and args.vary:
        raise UserError("--prompt and --vary exclude each other")
    given = [name for name in ("meter", "key") if args[name].present]
    if (args.prompt or args.vary) and given:
        raise UserError(f"--{given[0]} is the piece's own with --prompt and --vary")
    rngs = [np.random.default_rng([args.seed, n]) for n in range(args.num)]
    if args.vary:
        return [requests.variation_request(composer, _read_piece(args.vary), args.amount)] * args.num
    if args.prompt:
        piece = _read_piece(args.prompt)
        return [requests.continuation_request(composer, piece, args.prompt_bars, args.bars, rng) for rng in rngs]
    meter = requests.parse_meter(args.meter, composer)
    try:
        key = key_lib.parse_key(args.key) if args.key else None
    except ValueError as error:
        raise UserError(f"--key: {error}") from error
    return [requests.sample_request(composer, rng, num_bars=args.bars, meter=meter, key=key) for rng in rngs]


def main() -> None:
    """Composes and writes the pieces."""
    args = cli.flag_values("workdir", "output")
    for name, value, most in (("temperature", args.temperature, MAX_TEMPERATURE), ("amount", args.amount, 1)):
        if not 0 <= value <= most:  # Which is true of a value that is no number, too.
            raise UserError(f"--{name} must lie in 0..{most:g}, got {value}")
    amounts = dict(attributes.parse_attribute(text) for text in args.attribute)
    run = load_experiment(args.workdir)
    composer = load_composer(run)
    pieces = generate.generate_pieces(composer, _requests(args, composer), jax.random.key(args.seed), args.temperature)
    scores = [piece.score for piece in pieces]
    if amounts:
        directions = attributes.load(run.folder.attributes, composer.inference.latent_dim)
        scores = [attributes.move_attributes(composer, piece, directions, amounts) for piece in pieces]
    artifacts.write_composed_scores(pathlib.Path(args.output), scores)
    print(f"{len(scores)} pieces with {sum(len(score.notes) for score in scores)} notes in {args.output}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "Folder of a trained run.")
    flags.DEFINE_integer("num", 4, "How many pieces to compose.", lower_bound=1, upper_bound=1000)
    flags.DEFINE_integer(
        "seed", 0, "Seed: the same command gives the same bytes.", lower_bound=0, upper_bound=2**32 - 1
    )
    flags.DEFINE_string("output", "", "Folder for the pieces as MIDI and pictures.")
    flags.DEFINE_integer("bars", DEFAULT_BARS, "Length.", lower_bound=1, upper_bound=requests.MAX_BARS)
    flags.DEFINE_string("meter", DEFAULT_METER, "Meter, such as 3/4.")
    flags.DEFINE_string("key", "", "Key, such as G or Am; drawn from those of the training pieces by default.")
    flags.DEFINE_float("temperature", 1.0, "Below 1 is more predictable, above 1 more daring.")
    flags.DEFINE_string("prompt", "", "A MIDI file to go on from.")
    flags.DEFINE_integer("prompt_bars", 4, "How many of its first full bars to keep.", lower_bound=1)
    flags.DEFINE_string("vary", "", "A MIDI file to vary.")
    flags.DEFINE_float("amount", 0.3, "How far from it: 0 follows closely, 1 is free.")
    flags.DEFINE_multi_string(
        "attribute", [], "An attribute of the music and by how many standard deviations to move it: density:+1.5"
    )
    cli.run(main)
