"""How every command starts and ends: flags are parsed; a user's mistake becomes one line and a non-zero exit."""

from __future__ import annotations

import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from absl import app, flags, logging

from vae_jax.runtime import compilation_cache, distributed, signals
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import printable

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_arguments: list[str] = []  # Of the command, those that are no flags.
# XLA reports everything as a RuntimeError.
_OUT_OF_MEMORY = re.compile("RESOURCE_EXHAUSTED|Out of memory")
_TUNING = "xla_gpu_autotune_level"
_HOME = re.compile(r"(--?[\w.]+=)(~.*)")
MAX_TEMPERATURE = 100.0  # Above it even impossible music would be drawn.
_CLOSED_PIPE = 128 + 13  # What shells give for SIGPIPE.


def run(main: Callable[[], None], takes_arguments: str | bool = False) -> None:
    """Parses the flags and runs `main`; a UserError, a signal, a full disk, too little memory or a missing device ends
    in one line on stderr and a non-zero exit status, any other error in its traceback; a reader that has closed the
    pipe, as `head` does, in none. A `main` imports JAX after it has checked its flags, so that --help and mistakes take
    no time. Arguments that are no flags (`arguments`) are refused, unless `takes_arguments` is true or names a flag
    that is set.
    """
    os.environ["MPLBACKEND"] = "agg"  # Plots become files; a notebook's own backend may not be installed here.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # A redirected output may have any encoding.

    def checked(given: Sequence[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        try:
            is_free = flags.FLAGS[takes_arguments].value if isinstance(takes_arguments, str) else takes_arguments
            if len(given) > 1 and not is_free:
                raise UserError(f"unexpected argument {given[1]!r}; every option is written as --name=value")
            _arguments[:] = given[1:]
            signals.handle_signals()
            compilation_cache.enable()
            _compile_untuned()
            main()
            sys.stdout.flush()
        except UserError as error:
            _fail(str(error))
        except signals.Interrupted as error:
            print(error, file=sys.stderr)
            sys.exit(error.exit_code)
        except BrokenPipeError:
            raise
        except OSError as error:  # A full disk, a folder that was removed.
            _fail(f"{error.filename or 'a file'}: {error.strerror or error}")
        except Exception as error:
            if isinstance(error, MemoryError) or (
                isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error))
            ):
                _fail("not enough memory for this config; try a smaller batch_size or model")
            if _lacks_device():
                platforms = os.environ["JAX_PLATFORMS"]
                _fail(f"JAX finds no device of JAX_PLATFORMS={platforms}; unset it, or install JAX for it")
            if not distributed.is_joined():
                raise
            traceback.print_exc()
            _fail("this process, or another one of the run, has failed; start all of them again to resume")

    # Shells leave ~ as it is in the middle of a word.
    sys.argv[1:] = [_HOME.sub(lambda match: match[1] + os.path.expanduser(match[2]), one) for one in sys.argv[1:]]
    try:
        app.run(checked, flags_parser=_parse)
    except BrokenPipeError:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # What is left in the buffer goes there.
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        distributed.end(_CLOSED_PIPE)


def _compile_untuned() -> None:
    """Has XLA choose how a GPU multiplies matrices without trying: that takes minutes, more than training does
    (docs/performance.md). Changes nothing where the user has chosen, or after JAX has found its devices.
    """
    given = os.environ.get("XLA_FLAGS", "")
    if _TUNING not in given:
        os.environ["XLA_FLAGS"] = f"{given} --{_TUNING}=0".strip()


def check_range(name: str, maximum: float) -> None:
    """Raises UserError where a flag's number does not lie in 0..maximum; NaN does not."""
    if not 0 <= (value := flags.FLAGS[name].value or 0.0) <= maximum:
        raise UserError(f"--{name} must lie in 0..{maximum:g}, got {value}")


def arguments() -> list[str]:
    """Returns the command's arguments that are no flags."""
    return list(_arguments)


def flag_values(*required: str) -> flags.FlagValues:
    """Returns the parsed flags. Raises UserError where a required one was not given."""
    for name in required:
        if not flags.FLAGS[name].value:
            raise UserError(f"--{name} is missing; --help lists every option")
    return flags.FLAGS


def config_value() -> ConfigDict:
    """Returns the config of the flag --config. Raises UserError where the file cannot be loaded."""
    try:
        config: ConfigDict = flags.FLAGS["config"].value
        config.to_dict()  # This loads the file.
        return config
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


def _lacks_device() -> bool:
    """Whether JAX cannot start on the platforms that the user has chosen; it says so by errors of several types."""
    if "jax" not in sys.modules or not os.environ.get("JAX_PLATFORMS"):
        return False
    try:
        sys.modules["jax"].devices()
    except (RuntimeError, AssertionError):
        return True
    return False


def _fail(message: str) -> NoReturn:
    print(f"error: {printable(message)}", file=sys.stderr)
    distributed.end(1)
