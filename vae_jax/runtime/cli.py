"""How every command starts and ends: flags are parsed, and a user's mistake becomes one line and a non-zero exit."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging

from vae_jax.runtime import compilation_cache, distributed, signals
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import printable


def run(main: Callable[[], None]) -> None:
    """Parses the flags, runs `main` and turns a UserError, a signal or a machine without room into one line on stderr
    and a non-zero exit status."""

    def checked(arguments: Sequence[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        try:
            if len(arguments) > 1:
                raise UserError(f"unexpected argument {arguments[1]!r}; every option is written as --name=value")
            signals.handle_signals()
            compilation_cache.keep()
            main()
        except UserError as error:
            _fail(str(error))
        except signals.Interrupted as error:
            print(error, file=sys.stderr)
            sys.exit(error.exit_code)
        except OSError as error:  # The machine's doing, wherever it happened: a full disk, a folder that went away.
            _fail(f"{error.filename or 'a file'}: {error.strerror or error}")
        except (MemoryError, RuntimeError) as error:
            if _is_out_of_memory(error):
                _fail("not enough memory for this config; try a smaller batch_size or model")
            if not distributed.is_one_of_several():
                raise
            reason = str(error).splitlines()[0][:200]
            _fail(f"another process of the run is gone, or this one failed ({reason}); start all again to resume")

    app.run(checked, flags_parser=_parse)


def flag_values(*required: str) -> flags.FlagValues:
    """Returns the parsed flags.

    Raises:
      UserError: where a required one was not given.
    """
    for name in required:
        if not flags.FLAGS[name].value:
            raise UserError(f"--{name} is missing; --help lists every option")
    return flags.FLAGS


def config_value(holder: flags.FlagHolder[Any] | flags.Flag[Any]) -> Any:
    """Returns the config of a config-file flag.

    Raises:
      UserError: where the file cannot be loaded.
    """
    try:
        value: Any = holder.value
        value.to_dict()  # A file that cannot be loaded is told of only here.
        return value
    except OSError as error:
        path = " ".join(argument for argument in sys.argv if argument.startswith(("--config=", "-config=")))
        raise UserError(f"{path}: no such config file") from error


def _parse(arguments: Sequence[str]) -> list[str]:
    """Parses the flags; what absl and ml_collections raise for a user's mistake, of several types, ends in one line."""
    try:
        return flags.FLAGS(list(arguments))
    except (AttributeError, KeyError) as error:
        fields = [match[1] for argument in arguments if (match := re.match(r"--(config\.[\w.]+)", argument))]
        _fail(f"the config has no such field: {error} (overrides given: {', '.join(fields)})")
    except SyntaxError as error:
        _fail(f"{error.filename}: not a config file ({error})")
    except (flags.Error, OSError, TypeError, ValueError, IndexError) as error:
        _fail(" ".join(str(error).split()))


def _is_out_of_memory(error: Exception) -> bool:
    """Whether Python or XLA, which has an error type for everything, had no memory left."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error)


def _fail(message: str) -> NoReturn:
    print(f"error: {printable(message)}", file=sys.stderr)
    distributed.end(1)
