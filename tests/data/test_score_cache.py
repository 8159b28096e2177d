"""The cache of scores: what comes from it equals what the reader gives, whatever happens to its file."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pathlib
import random
import sqlite3
import stat
import subprocess
import sys
import threading
import time

import pytest

from vae_jax.data import corpus, parallel, parsing, score_cache, synthetic
from vae_jax.data.score_cache import ScoreCache
from vae_jax.music import midi
from vae_jax.runtime import cache_dir

REPOSITORY = pathlib.Path(__file__).parents[2]
MUSIC = [midi.write_midi(score) for _, score in synthetic.make_corpus(4, 0)]
HOSTILE = {
    "cut.mid": MUSIC[0][:-200],
    "junk.mid": b"junk" + MUSIC[1],
    "text.mid": b"Dear diary,",
    "empty.mid": b"",
    "silent.mid": b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0",
    "half_surrogate.mid": MUSIC[2].replace(b"MTrk", b"MTrx", 1),
}


@pytest.fixture
def cache_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A cache of this test's own."""
    monkeypatch.setenv(cache_dir.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def songs(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder of good, repaired and refused files."""
    folder = tmp_path / "songs"
    folder.mkdir()
    for name, data in {f"{n}.mid": data for n, data in enumerate(MUSIC)}.items() | HOSTILE.items():
        (folder / name).write_bytes(data)
    return folder


def database(cache_folder: pathlib.Path) -> pathlib.Path:
    (path,) = cache_folder.glob("*.sqlite")
    return path


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the files that the reader reads from now on."""
    sizes = []

    def judge(data: bytes) -> parsing.Verdict:
        sizes.append(len(data))
        return original(data)

    original = parsing.judge
    monkeypatch.setattr(parsing, "judge", judge)
    return sizes


def read_without_cache(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> tuple[corpus.IngestedFile, ...]:
    with monkeypatch.context() as patch:
        patch.setenv(cache_dir.VARIABLE, "off")
        return corpus.load_corpus(str(path)).files


def row_values(path: pathlib.Path) -> list[bytes]:
    connection = sqlite3.connect(path)
    values = [value for (value,) in connection.execute("SELECT value FROM verdicts")]
    connection.close()
    return values


# Equal.


def test_what_comes_from_the_cache_is_what_the_reader_gives(
    songs: pathlib.Path, cache_folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    expected = read_without_cache(songs, monkeypatch)
    assert not cache_folder.exists()
    assert {file.status for file in expected} == {"loaded", "repaired", "refused"}
    assert corpus.load_corpus(str(songs)).files == expected
    read = count_reads(monkeypatch)
    assert corpus.load_corpus(str(songs)).files == expected
    assert not read, "a refusal is kept as well as a score"
    columns = corpus.load_corpus(str(songs)).pieces[0].score.notes
    assert columns.pitch.dtype == columns.onset_ticks.dtype == "int64" and columns.pitch.flags.writeable


def test_the_synthetic_corpus_from_the_cache_is_equal(cache_folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    first = corpus.synthetic_corpus(6, 3)
    read = count_reads(monkeypatch)
    assert corpus.synthetic_corpus(6, 3).files == first.files
    assert not read
    assert [piece.score for piece in first.pieces] == [score for _, score in synthetic.make_corpus(6, 3)]


def test_the_anthems_from_the_cache_are_equal(
    anthems: pathlib.Path, cache_folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    expected = read_without_cache(anthems, monkeypatch)
    assert corpus.load_corpus(str(anthems)).files == expected
    read = count_reads(monkeypatch)
    cached = corpus.load_corpus(str(anthems))
    assert cached.files == expected and len(cached.pieces) == 135
    assert not read


def test_the_anthems_come_from_the_cache_in_a_fifth_of_a_second(anthems: pathlib.Path, cache_folder: pathlib.Path):
    corpus.load_corpus(str(anthems))
    times = []
    for _ in range(5):
        started = time.process_time()
        corpus.load_corpus(str(anthems))
        times.append(time.process_time() - started)
    assert min(times) < 0.2


def test_one_changed_byte_is_another_file(
    songs: pathlib.Path, cache_folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    corpus.load_corpus(str(songs))
    data = bytearray(MUSIC[0])
    data[-30] ^= 1
    (songs / "0.mid").write_bytes(data)
    read = count_reads(monkeypatch)
    assert corpus.load_corpus(str(songs)).files == read_without_cache(songs, monkeypatch)
    assert read[0] == len(data)


def test_another_reader_is_not_answered_for(
    songs: pathlib.Path, cache_folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    corpus.load_corpus(str(songs))
    read = count_reads(monkeypatch)
    monkeypatch.setattr(score_cache, "reader_version", lambda: b"another")
    corpus.load_corpus(str(songs))
    assert len(read) == len(MUSIC) + len(HOSTILE)


@pytest.mark.parametrize("module", score_cache._READER_MODULES, ids=lambda module: module.__name__)
def test_the_version_changes_with_the_source(module, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    before = score_cache.reader_version()
    changed = tmp_path / "changed.py"
    changed.write_bytes(pathlib.Path(module.__file__).read_bytes() + b"\n")
    monkeypatch.setattr(module, "__file__", str(changed))
    assert score_cache.reader_version.__wrapped__() != before


def test_every_module_of_ours_that_the_reader_imports_is_in_the_version():
    code = "import sys, vae_jax.verdicts; print(*(name for name in sys.modules if name.startswith('vae_jax.')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {module.__name__ for module in score_cache._READER_MODULES}


def test_off_means_that_nothing_is_kept(songs: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert read_without_cache(songs, monkeypatch)
    assert not (tmp_path / "home").exists()


# Damage.


def test_a_flipped_bit_is_found_and_the_file_read_again(
    songs: pathlib.Path, cache_folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    expected = corpus.load_corpus(str(songs)).files
    path = database(cache_folder)
    for value in row_values(path):
        data = bytearray(path.read_bytes())
        part = value[-16:]  # In the last note's column: without a checksum nothing would notice.
        place = bytes(data).find(part)
        data[place + 3] ^= 0x04
        path.write_bytes(data)
    read = count_reads(monkeypatch)
    assert corpus.load_corpus(str(songs)).files == expected
    assert read
    read.clear()
    assert corpus.load_corpus(str(songs)).files == expected
    assert not read, "the damaged entry was replaced"


def test_a_mutated_file_never_changes_what_is_read(
    songs: pathlib.Path, cache_folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    expected = corpus.load_corpus(str(songs)).files
    whole = database(cache_folder).read_bytes()
    rng = random.Random(0)
    for n in range(150):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 4, 64])):
            place = rng.randrange(len(data)) if n % 2 else rng.randrange(4096) + 4096 * rng.randrange(len(data) // 4096)
            data[min(place, len(data) - 1)] = rng.randrange(256)
        if n % 10 == 0:
            del data[rng.randrange(len(data)) :]
        database(cache_folder).write_bytes(data)
        assert corpus.load_corpus(str(songs)).files == expected
        assert len(capsys.readouterr().err.splitlines()) <= 1


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"", b"SQLite format 3\0" + bytes(5000)])
def test_a_file_that_is_no_database_is_replaced(
    songs: pathlib.Path,
    cache_folder: pathlib.Path,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    expected = corpus.load_corpus(str(songs)).files
    database(cache_folder).write_bytes(content)
    assert corpus.load_corpus(str(songs)).files == expected
    read = count_reads(monkeypatch)
    assert corpus.load_corpus(str(songs)).files == expected
    assert not read
    assert not capsys.readouterr().err


def test_a_table_of_another_make_is_replaced(songs: pathlib.Path, cache_folder: pathlib.Path):
    cache_folder.mkdir()
    connection = sqlite3.connect(cache_folder / "scores.sqlite")
    connection.execute("CREATE TABLE verdicts (name TEXT, used INTEGER)")
    connection.close()
    corpus.load_corpus(str(songs))
    assert len(row_values(database(cache_folder))) == len(MUSIC) + len(HOSTILE)


def test_an_entry_under_another_key_is_not_believed(tmp_path: pathlib.Path):
    hashes = [hashlib.sha256(data).hexdigest() for data in MUSIC[:2]]
    cache = ScoreCache(tmp_path / "scores.sqlite")
    cache.put({one: parsing.pack(parsing.judge(data)) for one, data in zip(hashes, MUSIC[:2], strict=True)})
    cache.close()
    connection = sqlite3.connect(tmp_path / "scores.sqlite")
    (first, second) = [key for (key,) in connection.execute("SELECT key FROM verdicts")]
    connection.execute("UPDATE verdicts SET key = x'00' WHERE key = ?", (first,))
    connection.execute("UPDATE verdicts SET key = ? WHERE key = ?", (first, second))
    connection.commit()
    connection.close()
    cache = ScoreCache(tmp_path / "scores.sqlite")
    assert cache.get(hashes) == {}
    cache.close()


# A disk or a neighbour that will not have it.


def assert_read_with_one_warning(
    songs: pathlib.Path, expected: tuple[corpus.IngestedFile, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert corpus.load_corpus(str(songs)).files == expected
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: ") and "scores.sqlite: the cache is not used" in line


def test_a_folder_that_cannot_be_made_is_told_in_one_line(
    songs: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    expected = read_without_cache(songs, monkeypatch)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(cache_dir.VARIABLE, str(tmp_path / "file" / "cache"))
    assert_read_with_one_warning(songs, expected, capsys)


def test_a_folder_in_place_of_the_file_is_told_in_one_line(
    songs: pathlib.Path,
    cache_folder: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    expected = read_without_cache(songs, monkeypatch)
    (cache_folder / "scores.sqlite").mkdir(parents=True)
    assert_read_with_one_warning(songs, expected, capsys)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_told_in_one_line(
    songs: pathlib.Path, cache_folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    expected = corpus.load_corpus(str(songs)).files
    (songs / "new.mid").write_bytes(MUSIC[0] + b"x")
    database(cache_folder).chmod(stat.S_IRUSR)
    cache_folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        files = corpus.load_corpus(str(songs)).files
    finally:
        cache_folder.chmod(stat.S_IRWXU)
    assert [file for file in files if file.path != "new.mid"] == list(expected)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_full_disk_is_told_in_one_line(
    songs: pathlib.Path,
    cache_folder: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    expected = read_without_cache(songs, monkeypatch)
    connect = sqlite3.connect

    def connect_full(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 6")
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_full)
    assert_read_with_one_warning(songs, expected, capsys)


def test_a_neighbour_that_holds_the_file_for_ever_does_not_hold_us(
    songs: pathlib.Path,
    cache_folder: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(score_cache, "_TIMEOUT_SEC", 0.2)
    expected = corpus.load_corpus(str(songs)).files
    neighbour = sqlite3.connect(database(cache_folder), isolation_level=None)
    neighbour.execute("BEGIN EXCLUSIVE")
    assert_read_with_one_warning(songs, expected, capsys)
    neighbour.execute("ROLLBACK")
    neighbour.close()
    assert corpus.load_corpus(str(songs)).files == expected
    assert not capsys.readouterr().err


def read_again_and_again(songs: str, times: int, expected: str, failures) -> None:
    for _ in range(times):
        found = hashlib.sha256(repr(corpus.load_corpus(songs).files).encode()).hexdigest()
        failures.put(None if found == expected else found)


def test_processes_share_the_cache(songs: pathlib.Path, cache_folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    for n in range(40):
        (songs / f"more_{n}.mid").write_bytes(MUSIC[n % 4] + bytes([n]))
    expected = hashlib.sha256(repr(read_without_cache(songs, monkeypatch)).encode()).hexdigest()
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    processes = [context.Process(target=read_again_and_again, args=(str(songs), 3, expected, found)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [found.get(timeout=120) for _ in range(12)] == [None] * 12
    for process in processes:
        process.join()
        assert process.exitcode == 0


def test_threads_read_with_the_cache(songs: pathlib.Path, cache_folder: pathlib.Path):
    expected = corpus.load_corpus(str(songs)).files
    found: list[tuple[corpus.IngestedFile, ...]] = []
    threads = [threading.Thread(target=lambda: found.append(corpus.load_corpus(str(songs)).files)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


# Size.


def entries(start: int, count: int) -> dict[str, bytes]:
    return {
        hashlib.sha256(b"%d" % n).hexdigest(): random.Random(n).randbytes(10_000) for n in range(start, start + count)
    }


def test_the_oldest_used_entries_make_room(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "scores.sqlite"
    monkeypatch.setattr(score_cache, "_EVICTED_PER_QUERY", 8)
    now = time.time()
    for day, start in enumerate([0, 100, 200]):
        monkeypatch.setattr(time, "time", lambda day=day: now + day * 2 * score_cache._DAY_SEC)
        cache = ScoreCache(path, 2_700_000)
        cache.put(entries(start, 100))
        cache.get(list(entries(0, 50)))  # The first fifty are used every day.
        cache.close()
    cache = ScoreCache(path, 2_700_000)
    left = {start: len(cache.get(list(entries(start, 50)))) for start in range(0, 300, 50)}
    cache.close()
    assert left[0] == left[200] == left[250] == 50
    assert left[50] < 50
    assert 240 <= sum(left.values()) <= 280
    assert path.stat().st_size < 2_700_000 + 1_300_000


def test_a_closed_cache_finds_nothing_and_keeps_nothing(tmp_path: pathlib.Path):
    cache = ScoreCache(None)
    cache.put(entries(0, 2))
    assert cache.get(list(entries(0, 2))) == {}
    cache.close()


def test_a_packed_verdict_that_is_cut_is_refused():
    packed = parsing.pack(parsing.judge(MUSIC[0]))
    for end in (0, 3, len(packed) - 1):
        with pytest.raises(ValueError):
            parsing.unpack(packed[:end])
    assert parallel.num_cores() >= 1
