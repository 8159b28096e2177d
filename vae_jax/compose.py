"""Composes new pieces with a trained run.

python -m vae_jax.compose --workdir=RUN --num=4 --seed=0 --output=DIR [--bars=32] [--meter=4/4] [--key=G] [--tempo=100]
    [--chords="C Am F,G C"] [--temperature=1.0] [--attribute=density:+1.5] [--wav]
    [--style_of=FILE | --prompt=FILE --prompt_bars=4 | --vary=FILE --amount=0.3]
python -m vae_jax.compose --output=DIR --harmonise=FILE [--style_of=FILE]      new parts below its top voice
python -m vae_jax.compose --output=DIR --orchestrate=FILE [--style_of=FILE]    its notes for other instruments
python -m vae_jax.compose --output=DIR --infill=FILE --bars=9-12               these bars written anew

Without --workdir it is the run that this package ships.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from absl import flags

from vae_jax.runtime import cli, files
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.text import quantity

if TYPE_CHECKING:
    import numpy as np

    from vae_jax.composer.requests import Request
    from vae_jax.composer.stage import TrainedComposer
    from vae_jax.data.corpus import Piece
    from vae_jax.music.score import Score

_MIN_TEMPO, _MAX_TEMPO = 10, 400
_MAX_BARS = 1000
_SOURCES = ("prompt", "vary", "harmonise", "orchestrate", "infill")  # Flags that name a piece to start from.


def _make_requests(args: flags.FlagValues, composer: TrainedComposer, piece: Piece | None) -> list[Request]:
    import numpy as np

    from vae_jax.composer import attributes, requests
    from vae_jax.data import corpus

    amounts = dict(attributes.parse_attribute(text) for text in args.attribute)
    rngs = [np.random.default_rng([args.seed, n]) for n in range(args.num)]
    if args.style_of:
        composer = requests.in_style(composer, corpus.load_piece(args.style_of))
    if piece is None:
        found = _make_free_requests(args, composer, rngs)
    elif args.vary:
        found = [requests.variation_request(composer, piece, args.amount, rng) for rng in rngs]
    elif args.prompt:
        num_bars, _ = _parse_bars(args.bars)
        found = [requests.continuation_request(composer, piece, args.prompt_bars, num_bars, rng) for rng in rngs]
    elif args.harmonise:
        found = [requests.harmonisation_request(composer, piece, rng) for rng in rngs]
    else:
        found = [requests.arrangement_request(composer, piece, rng) for rng in rngs]
    if args.tempo:
        found = [
            dataclasses.replace(one, conditions=dataclasses.replace(one.conditions, beats_per_minute=args.tempo))
            for one in found
        ]
    if amounts:
        found = [attributes.move(composer, one, amounts) for one in found]
    if args.chords:
        chords = requests.parse_chords(args.chords)
        found = [requests.with_chords(one, chords) for one in found]
    return found


def _make_free_requests(
    args: flags.FlagValues, composer: TrainedComposer, rngs: list[np.random.Generator]
) -> list[Request]:
    """Requests that start from no piece."""
    from vae_jax.composer import requests
    from vae_jax.music import key as key_lib

    (num_bars, _), meter = _parse_bars(args.bars), requests.parse_meter(args.meter)
    try:
        key = key_lib.parse_key(args.key) if args.key else None
    except ValueError as error:
        raise UserError(f"--key: {error}") from error
    if args.chords and key is None:
        key = requests.parse_chords(args.chords)[0][0]
    return [requests.sample_request(composer, rng, num_bars=num_bars, meter=meter, key=key) for rng in rngs]


def _write_music(args: flags.FlagValues, composer: TrainedComposer) -> list[Score]:
    from vae_jax.composer import generate, infill, notes
    from vae_jax.data import corpus

    given = next((args[name].value for name in _SOURCES if args[name].value), "")
    piece = corpus.load_piece(given) if given else None
    if piece is not None and args.infill:
        return infill.infill(composer, piece, _parse_bars(args.bars), args.num, args.seed, args.temperature)
    found = _make_requests(args, composer, piece)
    if piece is not None and args.orchestrate:
        source = notes.read_piece(piece.score)
        return generate.arrange(composer, found, [source] * len(found), args.seed, args.temperature)
    return generate.generate_pieces(composer, found, args.seed, args.temperature)


def _parse_bars(text: str) -> tuple[int, int]:
    """Reads a number of bars, or a range such as 9-12. Raises UserError for anything else."""
    written = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", text)
    first, last = (int(written[1]), int(written[2] or written[1])) if written else (0, 0)
    if not 1 <= first <= last or last > _MAX_BARS:
        raise UserError(f"--bars must be a number from 1 to {_MAX_BARS}, with --infill a range such as 9-12: {text!r}")
    return first, last


def _check(args: flags.FlagValues) -> None:
    """Raises UserError where flags exclude each other or have values outside their ranges."""
    cli.check_range("temperature", cli.MAX_TEMPERATURE)
    cli.check_range("amount", 1)
    sources = [name for name in _SOURCES if args[name].value]
    styled = [] if sources in ([], ["harmonise"], ["orchestrate"]) else ["style_of"] * bool(args.style_of)
    if len(sources + styled) > 1:
        raise UserError(f"--{(sources + styled)[0]} and --{(sources + styled)[1]} exclude each other")
    given = [name for name in ("meter", "key") if args[name].present]
    if args.chords and sources not in ([], ["harmonise"]):
        raise UserError(f"--chords and --{sources[0]} exclude each other")
    if sources and given:
        raise UserError(f"--{given[0]} is the piece's own with --{sources[0]}")
    first, last = _parse_bars(args.bars)
    if first != last and not args.infill:
        raise UserError(f"--bars={args.bars} is for --infill")
    if args.infill and not args["bars"].present:
        raise UserError("--infill requires --bars, such as 9-12")
    if args.tempo and not _MIN_TEMPO <= args.tempo <= _MAX_TEMPO:
        raise UserError(f"--tempo must be from {_MIN_TEMPO} to {_MAX_TEMPO} quarter notes a minute, got {args.tempo:g}")


def main() -> None:
    """Composes and writes the pieces."""
    args = cli.flag_values("workdir", "output")
    _check(args)

    from vae_jax.composer import stage
    from vae_jax.report import artifacts
    from vae_jax.training.experiment import load_experiment

    composer = stage.load_composer(load_experiment(args.workdir))
    scores = _write_music(args, composer)
    artifacts.write_scores(files.make_output(args.output), "composition", scores, with_audio=args.wav)
    num_notes = quantity(sum(len(score.notes) for score in scores), "note")
    print(f"{quantity(len(scores), 'piece')} with {num_notes} in {args.output}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "pretrained", "Folder of a trained run; by default the one that is shipped.")
    flags.DEFINE_integer("num", 4, "Number of pieces.", lower_bound=1, upper_bound=1000)
    flags.DEFINE_integer("seed", 0, "Seed: the same seed gives the same bytes.", lower_bound=0, upper_bound=2**32 - 1)
    flags.DEFINE_string("output", "", "Folder for the pieces as MIDI and pictures.")
    flags.DEFINE_bool("wav", False, "Whether to render each piece as a WAV file too.")
    flags.DEFINE_string("bars", "32", "Length in bars, without the pick-up; with --infill which bars, such as 9-12.")
    flags.DEFINE_string("meter", "4/4", "Meter, such as 3/4.")
    flags.DEFINE_string("key", "", "Key, such as G or Am; drawn from those of the training pieces by default.")
    flags.DEFINE_string(
        "chords", "", 'Chords of the bars, again and again, such as "C Am F,G C"; the key is the first.'
    )
    flags.DEFINE_float("tempo", 0.0, "Quarter notes a minute; by default those of a training piece or the file's.")
    flags.DEFINE_float("temperature", 1.0, "Below 1 more predictable, above 1 more varied.")
    flags.DEFINE_string("style_of", "", "A MIDI file whose style, instruments and dynamics to take.")
    flags.DEFINE_string("prompt", "", "A MIDI file to continue.")
    flags.DEFINE_integer("prompt_bars", 4, "Number of its first full bars to keep.", lower_bound=1)
    flags.DEFINE_string("vary", "", "A MIDI file to vary.")
    flags.DEFINE_float("amount", 0.3, "How far a variation departs from its original: 0 little, 1 freely.")
    flags.DEFINE_string("harmonise", "", "A MIDI file whose top voice to keep; the other parts are written.")
    flags.DEFINE_string("orchestrate", "", "A MIDI file whose notes to give to other instruments.")
    flags.DEFINE_string("infill", "", "A MIDI file of which to write some --bars anew.")
    flags.DEFINE_multi_string(
        "attribute", [], "An attribute of the music and by how many standard deviations to move it: density:+1.5"
    )
    cli.run(main)
