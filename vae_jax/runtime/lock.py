"""One run at a time in a folder: a lock that the system takes back when the process ends, however it ends."""

import os
import pathlib

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two runs apart there.
    fcntl = None  # type: ignore[assignment]

from vae_jax.runtime.errors import UserError

_NAME = ".lock"
_held: dict[pathlib.Path, int] = {}


def hold(folder: pathlib.Path) -> None:
    """Makes a folder where there is none and locks it for this process until it ends.

    Raises:
      UserError: where another process holds it.
      OSError: where the folder or the lock's file cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder.resolve()
    if fcntl is None or place in _held:
        return
    handle = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise UserError(f"{folder}: another run is going on in this folder; wait for it or stop it") from error
    except OSError:
        os.close(handle)  # A network disk without locks.
        return
    _held[place] = handle
