"""Verdicts on files that were read before, by the hash of their bytes, in one SQLite file of the user's cache folder.

The cache decides how long a read takes and nothing else. An entry's key holds the version of the reader, which is a
hash of its source, and its value a checksum over key and content, so that neither an old reader nor a flipped bit is
believed. Whatever SQLite or the disk says against it switches it off for the rest of the read.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import pathlib
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import mido

from vae_jax.data import parsing
from vae_jax.music import midi, midi_reader, score, serialization
from vae_jax.runtime import cache_dir

MAX_BYTES = 2**30
_FILE_NAME = "scores.sqlite"
_READER_MODULES = (midi, midi_reader, score, serialization, parsing)
_CHECKSUM_BYTES = 16
_TIMEOUT_SEC = 2.0  # Others hold the file for milliseconds; a stopped process may hold it for ever.
_DAY_SEC = 86_400  # How exactly it is known when an entry was last used; finer would make every read a write.
_KEYS_PER_QUERY = 500  # SQLite of old took 999 parameters.
_EVICTED_PER_QUERY = 256
_REPLACEABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)  # The last: another table.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS verdicts (key BLOB PRIMARY KEY, value BLOB NOT NULL, used INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS verdicts_by_use ON verdicts (used);
"""


@functools.cache
def reader_version() -> bytes:
    """Hash of all that decides what reading a file gives: the source of the reader, mido's and Python's version.

    Raises:
      OSError: where the source is not at hand.
    """
    digest = hashlib.sha256(repr((mido.version_info, sys.version_info[:2])).encode())
    for module in _READER_MODULES:
        digest.update(hashlib.sha256(pathlib.Path(str(module.__file__)).read_bytes()).digest())
    return digest.digest()


class ScoreCache:
    """The cache while it is open; made by `open_cache`."""

    def __init__(self, path: pathlib.Path | None, max_bytes: int = MAX_BYTES):
        self._path = path
        self._max_bytes = max_bytes
        self._connection: sqlite3.Connection | None = None
        self._used: list[tuple[int, bytes]] = []
        if path is not None:
            self._attempt(self._connect)

    def get(self, hashes: Sequence[str]) -> dict[str, bytes]:
        """Returns the packed verdicts that are at hand, by the content hash (sha256, hexadecimal)."""
        found: dict[str, bytes] = {}
        self._attempt(lambda: found.update(self._select(hashes)))
        return found

    def put(self, packed: Mapping[str, bytes]) -> None:
        """Keeps packed verdicts by content hash and makes room where the limit is passed."""
        if packed:
            self._attempt(lambda: self._insert(packed))

    def close(self) -> None:
        """Notes which entries were used and closes the file."""
        if self._used:
            self._attempt(self._note_use)
        self._disconnect()

    def _attempt(self, action) -> None:
        """Does something with the file. A damaged file is replaced once; any other complaint ends its use."""
        if self._path is None:
            return
        for is_last in (False, True):
            try:
                return action()
            except (sqlite3.Error, OSError, UnicodeError) as error:
                if _is_damage(error) and not is_last:
                    with contextlib.suppress(OSError, sqlite3.Error):
                        self._replace()
                    continue
                self._disconnect()
                path, self._path = self._path, None
                print(f"warning: {path}: the cache is not used ({error})", file=sys.stderr)
                return None

    def _connect(self) -> None:
        if self._connection is None and self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # No journal in shared memory: home folders lie on network disks. No fsync: a damaged file is replaced.
            self._connection = sqlite3.connect(self._path, timeout=_TIMEOUT_SEC, isolation_level=None)
            self._connection.text_factory = bytes  # One flipped bit makes a text of a blob.
            self._connection.executescript(f"PRAGMA synchronous = OFF; {_SCHEMA}")

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _replace(self) -> None:
        """Deletes a damaged file and makes a new one."""
        self._disconnect()
        for suffix in ("", "-journal"):
            pathlib.Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self._connect()

    def _select(self, hashes: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        keys = {_key(one): one for one in hashes}
        now = int(time.time())
        names = list(keys)
        for start in range(0, len(names), _KEYS_PER_QUERY):
            part = names[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, value, used FROM verdicts WHERE key IN ({marks})"
            for key, value, used in self._execute(query, part).fetchall():
                if key not in keys or not isinstance(value, bytes) or not isinstance(used, int):
                    continue
                content = value[_CHECKSUM_BYTES:]
                if _checksum(key, content) == value[:_CHECKSUM_BYTES]:
                    yield keys[key], content
                    if abs(now - used) > _DAY_SEC:
                        self._used.append((now, key))

    def _insert(self, packed: Mapping[str, bytes]) -> None:
        now = int(time.time())
        rows = [(key, _checksum(key, value) + value, now) for key, value in ((_key(h), v) for h, v in packed.items())]
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?)", rows)
            while self._num_bytes() > self._max_bytes:
                oldest = f"SELECT rowid FROM verdicts ORDER BY used LIMIT {_EVICTED_PER_QUERY}"
                if not connection.execute(f"DELETE FROM verdicts WHERE rowid IN ({oldest})").rowcount:
                    break

    def _note_use(self) -> None:
        with self._transaction() as connection:
            connection.executemany("UPDATE verdicts SET used = ? WHERE key = ?", self._used)
        self._used = []

    def _num_bytes(self) -> int:
        """Bytes of the file's pages that are in use."""
        pages, free, size = (
            self._execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _execute(self, query: str, parameters: Sequence[bytes] = ()) -> sqlite3.Cursor:
        if self._connection is None:
            raise sqlite3.OperationalError("it is closed")
        return self._connection.execute(query, parameters)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, also where a signal ends it."""
        self._execute("BEGIN IMMEDIATE")
        assert self._connection is not None
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise


@contextlib.contextmanager
def open_cache() -> Iterator[ScoreCache]:
    """Opens the user's cache; one that is off, or cannot be had, finds nothing and keeps nothing."""
    cache = ScoreCache(cache_dir.folder() / _FILE_NAME if cache_dir.is_on() and _has_source() else None)
    try:
        yield cache
    finally:
        cache.close()


def _is_damage(error: Exception) -> bool:
    """Whether the file is at fault; a UnicodeError is what becomes of a message that quotes it."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, UnicodeError) or (code is not None and code & 0xFF in _REPLACEABLE)


def _has_source() -> bool:
    try:
        return bool(reader_version())
    except OSError:
        return False


def _key(content_hash: str) -> bytes:
    return hashlib.sha256(bytes.fromhex(content_hash) + reader_version()).digest()


def _checksum(key: bytes, content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES, key=key).digest()
