"""The published archive of the national anthems, downloaded once into the user's cache folder and verified by hash."""

import hashlib
import http.client
import pathlib
import urllib.request

import tqdm

from vae_jax.runtime import cache_dir, files
from vae_jax.runtime.errors import UserError

ANTHEMS_URL = "https://garcia-nacho.github.io/images/NationalAnthems.zip"
ANTHEMS_SHA256 = "cbc8d6052117c9f46b4ce38651f8480bade4565cf2d3ac6baf8f646d37bed7bb"
ANTHEMS_BYTES = 744_950
_TIMEOUT_SEC = 20
_CHUNK_BYTES = 2**15


def fetch_anthems(url: str = ANTHEMS_URL) -> pathlib.Path:
    """Returns the path of the anthem archive in the cache folder, after downloading it if it is not there; raises
    UserError if it cannot be downloaded, or what the URL gives is not the archive."""
    target = cache_dir.folder() / "NationalAnthems.zip"
    try:
        if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == ANTHEMS_SHA256:
            return target
        data = _download(url)
        if hashlib.sha256(data).hexdigest() != ANTHEMS_SHA256:
            raise UserError(f"the national anthems from {url} are not the published file (wrong sha256)")
        files.write_bytes(target, data)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise UserError(f"the national anthems could not be downloaded from {url} ({reason})") from error
    return target


def _download(url: str) -> bytes:
    """Reads at most one chunk more than expected, with a progress bar."""
    received = bytearray()
    with (
        urllib.request.urlopen(url, timeout=_TIMEOUT_SEC) as answer,
        tqdm.tqdm(total=ANTHEMS_BYTES, unit="B", unit_scale=True, desc="national anthems", leave=False) as bar,
    ):
        while len(received) <= ANTHEMS_BYTES and (chunk := answer.read(_CHUNK_BYTES)):
            received += chunk
            bar.update(len(chunk))
    return bytes(received)
