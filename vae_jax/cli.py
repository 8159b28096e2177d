"""How every command starts and ends: flags are parsed, and a user's mistake becomes one line and a non-zero exit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from vae_jax.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Parses the flags, runs `main` and turns a UserError into one line on stderr and exit status 1."""

    def checked(arguments: Sequence[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        try:
            if len(arguments) > 1:
                raise UserError(f"unexpected argument {arguments[1]!r}; every option is written as --name=value")
            main()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)

    app.run(checked)


def flag_values(*required: str) -> flags.FlagValues:
    """Returns the parsed flags.

    Raises:
      UserError: where a required one was not given.
    """
    for name in required:
        if not flags.FLAGS[name].value:
            raise UserError(f"--{name} is missing; --help lists every option")
    return flags.FLAGS
