"""Every benchmark runs on a tiny input; what it compares is the same work."""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import run

from benchmarks import comparison, duplicates, process
from benchmarks.contestants import Ours, Start
from configs import anthems, post
from vae_jax.data import synthetic
from vae_jax.models.base import Variables
from vae_jax.models.losses import binomial_nll, gaussian_kl_nats, mean_squared_log_error
from vae_jax.models.pianoroll_vae import stack_neighbours
from vae_jax.music import midi
from vae_jax.music.score import make_notes, make_score
from vae_jax.representations.pianoroll.augmentation import Draws, augment
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.runtime.errors import UserError
from vae_jax.training.experiment import build_experiment
from vae_jax.training.run_dir import RunFolder

TURNS = ["--num_rounds=2", "--turn_sec=0.02", "--matmul_size=64"]
SMALL_CORPUS = ["--config.data.num_synthetic=6", "--config.data.num_held_out=2"]
POST = [
    *("--config.model.filters=2", "--config.model.hidden=16", "--config.representation.num_notes=20"),
    *("--batch_sizes=4", *SMALL_CORPUS, *TURNS),
]
FLAGSHIP = [
    *("--config.model.latent_dim=4", "--config.model.num_onset_cells=100", "--config.model.num_drum_cells=20"),
    *("--config.model.num_durations=40", "--config.model.num_iterations=2", "--config.model.prior_hidden=8"),
    *("--config.representation.crop_beats=16", "--config.representation.training_hop_beats=16"),
    "--config.train.batch_size=8",
    *("--num_steps=4", "--eval_every=2", *SMALL_CORPUS, *TURNS),
]


def benchmark(name: str, *arguments: str) -> str:
    done = run("-m", f"benchmarks.{name}", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def figures(table: str, row: str) -> list[float]:
    """The numbers of the first row of a table that starts with a word."""
    line = next(line for line in table.splitlines() if line.strip("| ").startswith(row))
    words = line.replace("|", " ").replace(",", "").replace("x", " ").split()
    return [float(word) for word in words if word.replace(".", "").isdigit()]


def test_reading():
    table = benchmark("reading", "--num_files=4", "--rounds=1", "--peer_files=2")
    assert "4 files" in table
    assert all(value > 0 for row in ("vae_jax, one core", "mido") for value in figures(table, row))


def test_damage(tmp_path: pathlib.Path):
    for name, score in synthetic.make_corpus(2, 0):
        midi.save(score, tmp_path / f"{name}.mid")
    table = benchmark("damage", f"--path={tmp_path}", "--every=1", "--copies=1", "--noise=2")
    assert figures(table, "length of a track") == [2, 2, 1, 1]
    assert figures(table, "a byte lost")[2] > 0.8
    assert table.endswith("tracks of noise with a note: 0 of 2\n")


def test_duplicates_are_aligned_as_by_hand():
    tune = np.array([2, 2, 1, -3, 5, 5, 5, -7])
    varied = np.concatenate([[9, 9], tune[:3], [4], tune[3:]])  # Seven or more of eight, with one gap or less.
    shares = duplicates.alignment_shares([tune, varied, tune[:4], np.array([11])])
    np.testing.assert_allclose(shares[0], [1, 7 / 8, 1, 0])
    np.testing.assert_allclose(shares[1, 2], 3 / 4)
    np.testing.assert_array_equal(shares, shares.T)
    score = make_score(480, make_notes([0, 480, 720, 960, 1920], [480, 240, 240, 960, 480], [60, 62, 64, 65, 60]))
    np.testing.assert_array_equal(duplicates.soprano(score), [2, 3, 0, -5])


@pytest.mark.slow
def test_returns_and_variations(small_run: pathlib.Path):
    lines = benchmark("returns", f"--workdir={small_run}", "--num=4").splitlines()
    asked = [figures(line, "asked") for line in lines if line.startswith("asked")]
    assert asked and all(0 <= value <= 1 for row in asked for value in row[:1])
    assert sum(line.startswith("varied by") for line in lines) == 5


def test_tables_are_markdown(small_run: pathlib.Path):
    tables = [block.splitlines() for block in benchmark("tables", f"--workdir={small_run}").split("\n\n")[:-1]]
    for head, rule, *rows in tables:
        assert rows and {line.count("|") for line in (head, rule, *rows)} == {head.count("|")}
    assert any("melody: steps among moves" in row for table in tables for row in table)


def test_startup():
    small = ["--config.model.filters=1", "--config.model.hidden=8", "--config.representation.num_notes=8"]
    table = benchmark("startup", "--rounds=1", "--only=run.py,first epoch", *small, *SMALL_CORPUS)
    assert all(value > 0 for row in ("run.py --help", "the first epoch of smoke") for value in figures(table, row))


@pytest.mark.slow
def test_post_step():
    table = benchmark("post_step", "--only=vae_jax", *POST)
    assert "batch 4" in table and figures(table, "vae_jax")[0] > 0


@pytest.mark.slow
def test_flagship_step():
    table = benchmark("flagship_step", "--measure=step", "--only=vae_jax", *FLAGSHIP)
    assert "batch 8" in table and figures(table, "vae_jax")[0] > 0


@pytest.mark.slow
def test_flagship_f1():
    table = benchmark("flagship_step", "--measure=f1", "--only=vae_jax", *FLAGSHIP)
    assert "F1, parts merged" in table and "F1, within parts" in table


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "peers"),
    [("torch", "PyTorch,torch.compile"), ("tensorflow", "Keras 3 on TensorFlow"), ("keras", "Keras 3 on PyTorch")],
)
def test_post_step_beside_peers(package: str, peers: str):
    pytest.importorskip(package)
    table = benchmark("post_step", f"--only={peers}", *POST)
    assert all(f"{peer}: equal losses" in table for peer in peers.split(","))


@pytest.mark.slow
def test_flagship_step_beside_pytorch():
    pytest.importorskip("torch")
    table = benchmark("flagship_step", "--only=PyTorch", *FLAGSHIP)
    assert "PyTorch: equal losses" in table and "PyTorch: average parameters" in table


@pytest.mark.slow
def test_memory():
    table = benchmark(
        "memory", "--config=configs/smoke.py", "--num=4", "--config.data.num_held_out=1", "--config.sample.num=1"
    )
    once, twice, *_ = figures(table, "peak")
    assert 100 < once < 10_000 and 100 < twice < 10_000


@pytest.mark.slow
def test_scale():
    table = benchmark("scale", "--sizes=16", "--bars=4")
    assert figures(table, "pieces") == [16]
    assert figures(table, "examples trained on a s, the flagship")[-1] > 0


def start_of(config: dict[str, Any], examples: dict[str, np.ndarray]) -> Start:
    variables = build_experiment(config).trainable.init(jax.random.key(1), None)
    return Start(config, num_steps=10, variables=jax.device_get(variables), examples=examples)


@pytest.mark.slow
def test_draws_are_those_of_the_posts_step():
    config = post.get_config().to_dict()
    config["model"] |= {"filters": 1, "hidden": 8}
    config["representation"] |= {"num_notes": 8, "num_tracks": 2}
    x = np.random.default_rng(0).uniform(0, 100, (4, 8, 3, 2)).astype(np.float32)
    start = start_of(config, {"values": x})
    ours, model = Ours(start), build_experiment(config).model
    draws = ours.draws(4, 1)

    @jax.jit
    def mean_loss(variables: Variables, noise: jax.Array) -> jax.Array:
        posterior = model.apply(variables, x, method="encode")
        outputs = model.apply(variables, posterior.mean + jnp.exp(posterior.log_var) * noise, method="decode")
        return jnp.mean(mean_squared_log_error(outputs, jnp.asarray(x)) + 0.5 * gaussian_kl_nats(posterior))

    losses = ours.losses([np.arange(4, dtype=np.int32)], draws)
    np.testing.assert_allclose(losses, [mean_loss(start.variables, draws[0]["noise"])], rtol=1e-5)


@pytest.mark.slow
def test_draws_are_those_of_the_flagships_step():
    config = anthems.get_config().to_dict()
    config["model"] |= {"latent_dim": 4, "num_onset_cells": 60, "num_drum_cells": 20, "num_iterations": 2}
    rng = np.random.default_rng(0)
    notes = rng.integers(0, (12, 8, 84, 30), (4, 6, 8, 4)).astype(np.int16)
    lists = BeatLists(notes, rng.uniform(size=(4, 6, 8)) < 0.8, np.ones((4, 6), bool))
    start, built = start_of(config, lists._asdict()), build_experiment(config)
    ours, model = Ours(start), built.model
    draws = ours.draws(4, 1)

    @jax.jit
    def mean_loss(variables: Variables, drawn: dict[str, jax.Array]) -> jax.Array:
        drawn = dict(drawn)
        noise = drawn.pop("noise")
        x = built.representation.rasterize(augment(lists, Draws(**drawn)))
        posterior, counts = (model.apply(variables, x, method=method) for method in ("encode", "counts"))
        z = posterior.mean + jnp.exp(posterior.log_var / 2) * noise
        logits = stack_neighbours(z, 5) @ variables["params"]["kernel"] + variables["params"]["bias"]
        kl = model.apply(variables, posterior, z, method="kl_nats")
        return jnp.mean(jnp.sum(binomial_nll(logits, counts) + config["loss"]["kl_weight"] * kl, axis=1))

    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam counts in int32.
        losses = ours.losses([np.arange(4, dtype=np.int32)], draws)
    np.testing.assert_allclose(losses, [mean_loss(start.variables, draws[0])], rtol=1e-5)


class FakeWorker:
    """A contestant with given losses."""

    def __init__(self, name: str, losses: list[float], num_parameters: int = 5):
        self.name, self._answers = name, {"num_parameters": num_parameters, "draws": [], "losses": losses}

    def ask(self, method: str, *_: Any) -> tuple[float, Any]:
        return 0.1, self._answers[method]


@pytest.mark.parametrize(
    ("peer", "is_equal"),
    [
        (FakeWorker("peer", [2.0, 1.001]), True),
        (FakeWorker("peer", [2.0, 1.1]), False),
        (FakeWorker("peer", [2.0, float("nan")]), False),
        (FakeWorker("peer", [2.0, 1.0], num_parameters=6), False),
    ],
)
def test_other_work_is_refused(peer: FakeWorker, is_equal: bool):
    start = Start({"train": {"batch_size": 2}, "seed": 0}, 10, {}, {"values": np.zeros((4, 1))})
    workers: Any = [FakeWorker("vae_jax", [2.0, 1.0]), peer]
    if is_equal:
        comparison.check_equal(workers, start, 2, {"peer": 0.01})
    else:
        with pytest.raises(UserError, match="peer does other work"):
            comparison.check_equal(workers, start, 2, {"peer": 0.01})


def test_the_stage_of_a_run_is_known_by_its_files(tmp_path: pathlib.Path):
    folder, found = RunFolder(tmp_path), [process.stage(RunFolder(tmp_path))]
    for path, text in [
        (folder.metrics_lines, ""),
        (folder.calibration, "{}"),
        (folder.composer.path / "pieces.json", "{}"),
        (folder.composer.metrics_lines, ""),
        (folder.composer.metrics_lines, "{}"),
        (folder.metrics, "{}"),
        (folder.timing, "{}"),
    ]:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        found.append(process.stage(folder))
    assert found == [
        "reading and encoding",
        "training, first stage",
        "reconstruction and evaluation",
        "examples of the second stage",
        "training, second stage",
        "reconstruction and evaluation",
        "pictures, music and composed pieces",
        "the page",
    ]


def test_a_command_is_ended_once_it_has_come_far_enough(tmp_path: pathlib.Path):
    path = tmp_path / "reached"
    script = f"import pathlib, time; pathlib.Path({str(path)!r}).touch(); time.sleep(1000)"
    assert process.run(["-c", script], {}, lambda _: path.exists()) > 0
    with pytest.raises(RuntimeError, match="broken"):
        process.run(["-c", "raise SystemExit('broken')"], {})
