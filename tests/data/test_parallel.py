"""Work in several processes: the same results in the same order, whatever happens to the workers."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.resource_tracker
import multiprocessing.spawn
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable

import pytest
from builders import tune_bytes
from command_line import REPOSITORY

from vae_jax.data import corpus, parallel
from vae_jax.music import midi

NOT_IMPORTED = ("jax", "flax", "optax", "scipy", "sklearn", "matplotlib", "absl", "music21")
PROC = pathlib.Path("/proc")
needs_proc = pytest.mark.skipif(not PROC.is_dir(), reason="processes are looked up in /proc")


@pytest.fixture
def eager_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three workers for the smallest corpus."""
    monkeypatch.setattr(corpus, "MIN_POOL_BYTES", 1)
    monkeypatch.setattr(parallel, "num_cores", lambda: 3)


@pytest.fixture
def songs(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder of good, repaired and refused files."""
    files = {f"{n}.mid": b"junk"[: n % 2] + tune_bytes(n) for n in range(30)}
    files |= {"text.mid": b"Dear diary,", "empty.mid": b"", "long.mid": bytes(midi.MAX_FILE_BYTES + 1)}
    (tmp_path / "songs").mkdir()
    for name, data in files.items():
        (tmp_path / "songs" / name).write_bytes(data)
    (tmp_path / "songs" / "gone.mid").symlink_to("nowhere")
    return tmp_path / "songs"


def wait_until(condition: Callable[[], object]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it did not happen in half a minute")


def children(pid: int) -> list[int]:
    """Spawned workers of a process."""
    return [
        int(child)
        for child in (PROC / f"{pid}/task/{pid}/children").read_text().split()
        if b"spawn_main" in (PROC / child / "cmdline").read_bytes()
    ]


def test_results_come_in_the_order_of_the_tasks():
    process = "__import__('os').getpid()"
    results = list(parallel.map_ordered(eval, [f"({n}, {process})" for n in range(40)], 2))
    assert [n for n, _ in results] == list(range(40))
    assert os.getpid() not in {process for _, process in results}
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("count", "num_workers"), [(0, 2), (1, 2), (5, 1)])
def test_little_work_starts_no_process(count: int, num_workers: int):
    results = list(parallel.map_ordered(eval, ["__import__('os').getpid()"] * count, num_workers))
    assert results == [os.getpid()] * count


def test_an_exception_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        list(parallel.map_ordered(eval, ["1", "1 / 0", "2"], 2))
    assert not multiprocessing.active_children()


def test_after_the_death_of_a_worker_the_rest_is_done_here(capfd: pytest.CaptureFixture[str]):
    die = "__import__('os').kill(__import__('os').getpid(), 9)"
    task = f"{die} if __import__('multiprocessing').parent_process() else 'here'"
    assert list(parallel.map_ordered(eval, ["1", "2", task, "3"], 2)) == [1, 2, "here", 3]
    assert capfd.readouterr().err.startswith("warning: worker processes failed")


def test_closing_ends_busy_workers():
    module = "__import__('vae_jax.data.parallel', fromlist=['parallel'])"
    busy = f"[__import__('time').sleep(0.01) or {module}.raise_if_closing() for _ in range(10**6)]"
    results = parallel.map_ordered(eval, ["1", busy, busy, busy], 2)
    assert next(results) == 1
    results.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("executable", ["/nowhere/python", "/bin/true", "/bin/cat"])
def test_without_an_interpreter_to_spawn_the_tasks_are_done_here(
    executable: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    multiprocessing.resource_tracker.ensure_running()  # With this interpreter.
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", os.fsencode(executable))
    assert list(parallel.map_ordered(eval, ["1", "2", "3"], 2)) == [1, 2, 3]
    assert "warning: worker processes failed" in capfd.readouterr().err


# Reading.


def test_workers_read_what_one_process_reads(songs: pathlib.Path, request: pytest.FixtureRequest):
    alone = corpus.load_corpus(str(songs))
    assert {file.status for file in alone.files} == {"loaded", "repaired", "refused"}
    request.getfixturevalue("eager_workers")
    together = corpus.load_corpus(str(songs))
    assert together.files == alone.files
    assert together.fingerprint == alone.fingerprint


def test_workers_read_the_anthems_alike(anthems: pathlib.Path, request: pytest.FixtureRequest):
    alone = corpus.load_corpus(str(anthems)).files
    request.getfixturevalue("eager_workers")
    assert corpus.load_corpus(str(anthems)).files == alone


def test_a_worker_that_parses_imports_little():
    code = f"import sys, vae_jax.data.parsing; print([name for name in {NOT_IMPORTED} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# A script without a guard runs once, and Ctrl-C or its death ends the workers.


def write_script(folder: pathlib.Path, songs: pathlib.Path) -> pathlib.Path:
    script = folder / "script.py"
    text = f"""
        import signal
        import sys
        signal.signal(signal.SIGINT, signal.default_int_handler)  # A test run in the background has it ignored.
        sys.path.insert(0, {str(REPOSITORY)!r})
        print("start", flush=True)
        from vae_jax.data import corpus, parallel
        corpus.MIN_POOL_BYTES = 1
        parallel.num_cores = lambda: 2
        print(len(corpus.load_corpus({str(songs)!r}).pieces), "pieces", flush=True)
        """
    script.write_text(textwrap.dedent(text))
    return script


@pytest.fixture
def many_songs(tmp_path: pathlib.Path) -> pathlib.Path:
    """Enough to be busy with until a signal comes: one file under many names."""
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "0.mid").write_bytes(tune_bytes() * 300)
    for n in range(1, 20_000):
        os.link(folder / "0.mid", folder / f"{n}.mid")
    return folder


def test_a_script_without_a_main_guard_runs_once(songs: pathlib.Path, tmp_path: pathlib.Path):
    script = write_script(tmp_path, songs)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split("\n") == ["start", "30 pieces", ""], done.stderr
    assert not done.stderr


@needs_proc
def test_ctrl_c_ends_the_reading_and_its_workers(many_songs: pathlib.Path, tmp_path: pathlib.Path):
    script = write_script(tmp_path, many_songs)
    process = subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(lambda: len(children(process.pid)) == 2)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0 and "KeyboardInterrupt" in err
    with contextlib.suppress(ProcessLookupError):
        wait_until(lambda: os.killpg(process.pid, 0))  # Raises when nobody of the group is left.


@needs_proc
def test_a_parent_that_is_killed_leaves_no_worker():
    code = "import time; from vae_jax.data import parallel; list(parallel.map_ordered(time.sleep, [1000, 1000], 2))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)
    wait_until(lambda: len(children(process.pid)) == 2)
    workers = children(process.pid)
    process.kill()
    process.wait()
    wait_until(lambda: not any((PROC / str(pid)).exists() for pid in workers))
