"""Renders a score to audio.

python -m vae_jax.render FILE [--output=FILE.wav]

MIDI, MusicXML, ABC and Humdrum are read, damaged files too, as `python -m vae_jax.ingest` reports. Without --output the
WAV file stands beside the score.
"""

import pathlib

from absl import flags

from vae_jax.runtime import cli, files
from vae_jax.runtime.errors import UserError


def main() -> None:
    """Reads the score, writes the audio."""
    args, given = cli.flag_values(), cli.arguments()
    if len(given) != 1:
        raise UserError(f"give one score: python -m vae_jax.render FILE (given: {len(given)})")

    from vae_jax.data import corpus
    from vae_jax.music import audio

    score = corpus.load_piece(given[0]).score
    target = pathlib.Path(args.output or files.expand_home(given[0]).with_suffix(".wav"))
    try:
        with files.replacing(target) as temporary:
            audio.save(score, temporary)
    except audio.AudioError as error:
        raise UserError(f"{given[0]}: {error}") from error
    print(f"{score.duration_sec:.1f} s of music in {target}")


if __name__ == "__main__":
    flags.DEFINE_string("output", "", "The WAV file; by default the score's name with .wav.")
    cli.run(main, takes_arguments=True)
