"""Reading on all cores: the same files in the same order, whatever becomes of the workers."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from vae_jax.data import corpus, parallel, parsing, read_worker, synthetic
from vae_jax.music import midi
from vae_jax.runtime import cache_dir

REPOSITORY = pathlib.Path(__file__).parents[2]
MUSIC = [midi.write_midi(score) for _, score in synthetic.make_corpus(4, 0)]
LIGHT = ("jax", "flax", "optax", "scipy", "sklearn", "matplotlib", "absl", "sqlite3")


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache_dir.VARIABLE, "off")


@pytest.fixture
def eager_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers for the smallest corpus, in chunks of a few files."""
    monkeypatch.setattr(parallel, "MIN_POOL_BYTES", 1)
    monkeypatch.setattr(parallel, "_CHUNK_FILES", 7)


def found() -> list[tuple[str, bytes | str]]:
    files: list[tuple[str, bytes | str]] = [(f"{n}.mid", MUSIC[n % 4] + bytes([n])) for n in range(20)]
    files += [("text.mid", b"Dear diary,"), ("empty.mid", b""), ("gone.mid", "cannot be read"), ("0.mid", MUSIC[0])]
    return [*files, ("long.mid", bytes(midi.MAX_FILE_BYTES + 1)), ("big.mid", MUSIC[0] + bytes(300_000))]


def living_workers() -> list[int]:
    """Processes of the reader that live below this one."""
    done = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in done.stdout.splitlines()]
    mine = str(os.getpid())
    return [int(pid) for pid, parent, command in rows if parent == mine and read_worker.__name__ in command]


def test_workers_give_what_one_process_gives(eager_workers: None):
    alone = list(parallel.read_files(found(), num_workers=1))
    assert [path for path, _ in alone] == [path for path, _ in found()]
    assert list(parallel.read_files(found(), num_workers=3)) == alone
    assert not living_workers()


def test_the_anthems_by_workers_are_equal(anthems: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    alone = corpus.load_corpus(str(anthems)).files
    monkeypatch.setattr(parallel, "MIN_POOL_BYTES", 1)
    monkeypatch.setattr(parallel, "num_cores", lambda: 4)
    assert corpus.load_corpus(str(anthems)).files == alone


def test_no_worker_is_started_for_little():
    with_workers = parallel.read_files(found()[:20], num_workers=4)
    next(with_workers)
    assert not living_workers()
    with_workers.close()


def test_a_worker_imports_the_reader_alone():
    code = f"import sys, vae_jax.read_worker; print([name for name in {LIGHT} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_worker_that_is_killed_is_replaced(eager_workers: None):
    expected = list(parallel.read_files(found(), num_workers=1))
    outcomes = parallel.read_files(found(), num_workers=2)
    read = [next(outcomes)]
    for pid in living_workers():
        os.kill(pid, signal.SIGKILL)
    assert [*read, *outcomes] == expected


def test_a_file_that_ends_its_worker_twice_is_refused_by_name(eager_workers: None, monkeypatch: pytest.MonkeyPatch):
    judge = parallel._Worker.judge

    def fall(worker: parallel._Worker, data: bytes) -> bytes:
        if data == MUSIC[2] + bytes([2]):  # As the kernel does where memory runs out.
            worker.kill()
        return judge(worker, data)

    expected = dict(parallel.read_files(found(), num_workers=1))
    monkeypatch.setattr(parallel._Worker, "judge", fall)
    outcomes = dict(parallel.read_files(found(), num_workers=2))
    refused = outcomes.pop("2.mid")
    assert refused.verdict == parsing.Verdict(None, (parallel._DIED,))
    expected.pop("2.mid")
    assert outcomes == expected


def test_such_a_refusal_is_not_kept(eager_workers: None, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(cache_dir.VARIABLE, str(tmp_path / "cache"))
    with monkeypatch.context() as patch:
        patch.setattr(parallel.WorkerPool, "_judge_there", lambda *_: None)
        outcomes = dict(parallel.read_files(found()[:3], num_workers=2))
        assert outcomes["0.mid"].verdict.score is None
    outcomes = dict(parallel.read_files(found()[:3], num_workers=2))
    assert outcomes["0.mid"].verdict.score is not None


@pytest.mark.parametrize("executable", ["", "/nowhere/python", "/bin/true", "/bin/cat"])
def test_without_workers_the_files_are_read_here(eager_workers: None, executable: str, monkeypatch: pytest.MonkeyPatch):
    expected = list(parallel.read_files(found(), num_workers=1))
    monkeypatch.setattr(sys, "executable", executable)
    assert list(parallel.read_files(found(), num_workers=2)) == expected


def test_a_program_that_never_answers_is_given_up(eager_workers: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parallel, "_START_SEC", 0.3)
    silent = [sys.executable, "-c", "import time; time.sleep(100)"]
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda _, **options: popen(silent, **options))
    started = time.monotonic()
    assert len(list(parallel.read_files(found(), num_workers=2))) == len(found())
    assert time.monotonic() - started < 20


def test_closing_in_the_middle_ends_the_workers_at_once(eager_workers: None):
    outcomes = parallel.read_files(((f"{n}", MUSIC[n % 4] * 40) for n in range(1000)), num_workers=2)
    next(outcomes)
    assert living_workers()
    started = time.monotonic()
    outcomes.close()
    assert time.monotonic() - started < 2
    assert not living_workers()


# A script without a guard, from a folder of its own, reads once, and Ctrl-C ends it.


def write_script(folder: pathlib.Path, body: str) -> pathlib.Path:
    text = f"""
        import sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        print("start", flush=True)
        from vae_jax import corpus, reading
        reading.MIN_POOL_BYTES = 1
        reading.num_cores = lambda: 2
        """
    script = folder / "script.py"
    script.write_text(textwrap.dedent(text) + textwrap.dedent(body))
    return script


def write_songs(folder: pathlib.Path, count: int) -> pathlib.Path:
    songs = folder / "songs"
    songs.mkdir()
    for n in range(count):
        (songs / f"{n:04d}.mid").write_bytes(MUSIC[n % 4] + bytes([n % 256, n // 256]))
    return songs


def test_a_script_without_a_main_guard_runs_once(tmp_path: pathlib.Path):
    songs = write_songs(tmp_path, 12)
    script = write_script(tmp_path, f"print(len(corpus.load_corpus({str(songs)!r}).pieces), 'pieces', flush=True)")
    (tmp_path / "mido.py").write_text("raise RuntimeError('a name that the workers look up as well')")
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-P", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split("\n") == ["start", "12 pieces", ""], done.stderr
    assert not done.stderr


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
def test_ctrl_c_ends_the_read_and_its_workers_at_once(tmp_path: pathlib.Path):
    songs = write_songs(tmp_path, 3000)
    script = write_script(tmp_path, f"corpus.load_corpus({str(songs)!r})")
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "start\n"
    time.sleep(2.5)
    assert process.poll() is None
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - started < 3
    assert err.rstrip().endswith("KeyboardInterrupt")
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # Nobody of the group is left.


def test_a_parent_that_is_killed_leaves_no_worker(tmp_path: pathlib.Path):
    body = """
        pool = reading.WorkerPool(2)
        print(len(list(pool.judge([b"x" * 100] * 50))), flush=True)
        print(*(worker._process.pid for worker in pool._all), flush=True)
        input()
        """
    script = write_script(tmp_path, textwrap.dedent(body))
    process = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["start\n", "50\n"]
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert workers
    process.kill()
    process.communicate()
    for _ in range(100):
        if not any(pathlib.Path(f"/proc/{pid}/cmdline").exists() for pid in workers):
            break
        time.sleep(0.1)
    else:
        pytest.fail("a worker lives on")
