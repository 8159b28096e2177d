"""What all tests share: the strict settings of JAX and the real corpus where it is at hand."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import hypothesis
import pytest
from command_line import REPOSITORY, SMALL, assert_success, call, run

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # What is compared bit for bit is compared on one kind of device.
# Never the user's own, in no process. Workers share it.
os.environ["VAE_JAX_CACHE"] = (
    os.environ["VAE_JAX_CACHE"] if "PYTEST_XDIST_WORKER" in os.environ else tempfile.mkdtemp(prefix="vae_jax_cache_")
)

import jax
from tiny_run import TinyRun, make_tiny_run

from vae_jax.data import corpus as corpus_lib

_UNOPTIMISED = "--xla_backend_optimization_level=0"
if jax.__version_info__ < (0, 11):  # Half the time; later versions have no choice.
    _UNOPTIMISED += " --xla_cpu_use_fusion_emitters=false"
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ

hypothesis.settings.register_profile("vae_jax", deadline=None, derandomize=True, database=None, print_blob=False)
hypothesis.settings.load_profile("vae_jax")


def pytest_configure(config: pytest.Config) -> None:
    """Has XLA optimise nothing where no test is slow: compiling then takes longer than running what is compiled."""
    if config.option.markexpr == "not slow" and _UNOPTIMISED not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_UNOPTIMISED}"


@pytest.fixture(scope="session", autouse=True)
def strict_jax() -> Iterator[None]:
    """No silent promotion of dtypes, and no key used twice."""
    with jax.numpy_dtype_promotion("strict"), jax.debug_key_reuse(True):
        yield


def pytest_unconfigure() -> None:
    """Deletes the cache of the tests."""
    if not IS_WORKER:
        shutil.rmtree(os.environ["VAE_JAX_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def anthems() -> pathlib.Path:
    """Path of the archive of the national anthems, which the project never contains."""
    path = pathlib.Path(
        os.environ.get("VAE_JAX_ANTHEMS") or REPOSITORY / ".." / "shared" / "data" / "NationalAnthems.zip"
    )
    if not path.is_file():
        pytest.skip(f"needs the real corpus: {path} is not there (set VAE_JAX_ANTHEMS to NationalAnthems.zip)")
    return path.resolve()


@pytest.fixture(scope="session")
def anthem_corpus(anthems: pathlib.Path) -> corpus_lib.Corpus:
    return corpus_lib.load_corpus(str(anthems))


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> pathlib.Path:
    """Folder of the runs that all workers of the session share."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if IS_WORKER else base) / "shared_runs"


@contextlib.contextmanager
def locked(folder: pathlib.Path, name: str) -> Iterator[None]:
    """Lets one worker at a time make a run."""
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def small_run(runs: pathlib.Path) -> pathlib.Path:
    """Folder of a small run of the flagship that no test may change."""
    folder, is_done = runs / "small", runs / "small.done"
    with locked(runs, "small"):
        if not is_done.exists():
            assert_success(call("run.py", *SMALL, f"--workdir={folder}"))
            is_done.touch()
    return folder


@pytest.fixture(scope="session")
def finished_smoke_run(runs: pathlib.Path) -> tuple[pathlib.Path, str]:
    """Folder and output of a run of configs/smoke.py as a process of its own."""
    folder, output = runs / "new" / "smoke", runs / "smoke.out"
    with locked(runs, "smoke"):
        if not output.exists():
            done = run("run.py", "--config=configs/smoke.py", f"--workdir={folder}")
            assert_success(done)
            output.write_text(done.stdout)
    return folder, output.read_text()


@pytest.fixture(scope="session")
def smoke_run(finished_smoke_run) -> pathlib.Path:
    """Folder of a run of configs/smoke.py that no test may change."""
    return finished_smoke_run[0]


@pytest.fixture(scope="session")
def tiny_run() -> TinyRun:
    """The smallest run there is, compiled once."""
    return make_tiny_run()
