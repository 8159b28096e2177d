"""vae_jax.sample: the same seed gives the same bytes; runs that cannot be sampled from."""

from __future__ import annotations

import pathlib
import shutil

import pytest
from command_line import assert_one_error, assert_success, call, content, run

from vae_jax.music import midi
from vae_jax.runtime.files import OUTPUT_MARK


def test_samples_of_the_same_seed_are_the_same_bytes(smoke_run: pathlib.Path, tmp_path: pathlib.Path):
    """Those of another process are those that the run left."""
    for num, seed, name in ((2, 0, "again"), (3, 6, "other")):
        options = (f"--workdir={smoke_run}", f"--num={num}", f"--seed={seed}", f"--output={tmp_path / name}")
        assert_success(run("-m", "vae_jax.sample", *options) if name == "again" else call("sample", *options))
    again, other = (content(tmp_path / name) for name in ("again", "other"))
    left_by_the_run = content(smoke_run / "samples")
    for n in range(2):
        assert again[f"sample_{n:03d}.mid"] == left_by_the_run[f"prior_{n:03d}.mid"]
    assert other.pop(OUTPUT_MARK)
    assert sorted(other) == [f"sample_{n:03d}.{end}" for n in range(3) for end in ("mid", "png")]
    assert again["sample_000.mid"] != other["sample_000.mid"]
    for path in tmp_path.rglob("*.mid"):
        assert midi.read_midi(path.read_bytes()).warnings == ()


@pytest.mark.parametrize("density", ["prior", "posterior"])
def test_density_and_temperature(small_run: pathlib.Path, tmp_path: pathlib.Path, density: str):
    options = (f"--workdir={small_run}", "--num=2", "--seed=3", f"--density={density}")
    for name, temperature in (("a", 0.7), ("b", 0.7), ("cold", 0.0)):
        folder = tmp_path / name
        assert_success(call("sample", *options, f"--temperature={temperature}", f"--output={folder}"))
    a, b, cold = (content(tmp_path / name) for name in ("a", "b", "cold"))
    assert a == b
    assert a["sample_000.mid"] != a["sample_001.mid"]
    assert cold["sample_000.mid"] == cold["sample_001.mid"]  # Both are the mean of the density.


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--workdir=no/such/run", "--output=x"], ["no/such/run", "no run here"]),
        (["--workdir=no/such/run"], ["--output is missing"]),
        (["--num=0", "--workdir=x", "--output=x"], ["num"]),
        (["--temperature=nan", "--workdir=x", "--output=x"], ["--temperature"]),
        (["--temperature=inf", "--workdir=x", "--output=x"], ["--temperature", "inf"]),
        (["--temperature=1e30", "--workdir=x", "--output=x"], ["--temperature"]),
        (["--temperature=-1", "--workdir=x", "--output=x"], ["--temperature"]),
        (["--density=uniform", "--workdir=x", "--output=x"], ["density"]),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], parts: list[str]):
    assert_one_error(call("sample", *arguments), *parts)


def test_a_mistake_is_one_line_of_the_process():
    assert_one_error(run("-m", "vae_jax.sample", "--workdir=no/such/run", "--output=x"), "no run here")


def test_a_run_without_a_checkpoint_is_refused(smoke_run: pathlib.Path, tmp_path: pathlib.Path):
    for name in ("config.json", "run.json"):
        shutil.copy(smoke_run / name, tmp_path / name)
    done = call("sample", f"--workdir={tmp_path}", f"--output={tmp_path / 'out'}")
    assert_one_error(done, str(tmp_path), "no checkpoint")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("damage", "reason"), [("missing", "not there yet"), ("cut", "damaged")])
def test_latents_that_the_posterior_needs(
    smoke_run: pathlib.Path, tmp_path: pathlib.Path, damage: str, reason: str
):  # fmt: skip
    shutil.copytree(smoke_run, tmp_path / "run")
    path = tmp_path / "run" / "latents.npz"
    data = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    options = (f"--workdir={tmp_path / 'run'}", "--density=posterior", f"--output={tmp_path / 'out'}")
    assert_one_error(call("sample", *options), "latents.npz", reason)


def test_an_output_that_cannot_be_written(smoke_run: pathlib.Path, tmp_path: pathlib.Path):
    (tmp_path / "file").write_text("no folder")
    done = call("sample", f"--workdir={smoke_run}", "--num=1", f"--output={tmp_path / 'file' / 'out'}")
    assert_one_error(done, "cannot be written")
    assert (tmp_path / "file").read_text() == "no folder"
