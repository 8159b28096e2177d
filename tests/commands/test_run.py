"""run.py: what a run leaves in its folder, that a resumed run is the same run, and what bad input ends in."""

from __future__ import annotations

import json
import pathlib
import shutil
import signal
import time

import jax
import numpy as np
import pytest
from builders import tune_bytes
from command_line import (
    PNG,
    REPOSITORY,
    SMALL,
    TIMEOUT_SEC,
    assert_one_error,
    assert_success,
    call,
    content,
    run,
    start,
)

from configs import smoke
from vae_jax.evaluation import note_matching
from vae_jax.models.posterior import Posterior
from vae_jax.music import midi
from vae_jax.music.score import Meter, Score, make_notes, make_score
from vae_jax.runtime import files
from vae_jax.training import checkpointing, step
from vae_jax.training.experiment import build_experiment, load_experiment

SMOKE = "--config=configs/smoke.py"
REFUSED_URL = "http://127.0.0.1:9/NationalAnthems.zip"  # The discard service, which nobody runs.


def read_json(path: pathlib.Path):
    return json.loads(path.read_text(encoding="utf-8"))


def read_score(path: pathlib.Path) -> Score:
    reading = midi.read_midi(path.read_bytes())
    assert reading.warnings == ()
    return reading.score


def safe_stem(path: str) -> str:
    return files.safe_name(pathlib.PurePosixPath(path).stem)


# The folder of a run.


def test_the_smoke_run_prints_its_results(finished_smoke_run: tuple[pathlib.Path, str]):
    folder, output = finished_smoke_run
    assert "16 files: 16 loaded (0 of them repaired), 0 refused" in output
    assert "epoch 6/6 loss" in output
    assert "corpus: synthetic" in output
    assert output.splitlines()[-1] == f"everything is in {folder}"
    assert "resuming" not in output


def test_the_folder_has_its_layout(smoke_run: pathlib.Path):
    there = {path.name for path in smoke_run.iterdir()}
    assert there >= {
        "config.json", "run.json", "ingest.json", "metrics.json", "metrics.jsonl", "checkpoints", "plots",
        "reconstructions", "samples", "report.html",
    }  # fmt: skip
    assert list(smoke_run.rglob("events.out.tfevents*"))
    assert not [*smoke_run.rglob("*.tmp"), *smoke_run.rglob("*.saving")]
    steps = sorted(path.name for path in (smoke_run / "checkpoints").iterdir())
    assert steps == ["00000012", "00000018"]
    assert all((smoke_run / "checkpoints" / name / "manifest.json").is_file() for name in steps)


def test_config_and_description(smoke_run: pathlib.Path):
    assert read_json(smoke_run / "config.json") == json.loads(smoke.get_config().to_json())
    described = read_json(smoke_run / "run.json")
    assert described["run_id"] and described["seed"] == 0
    assert (described["corpus"]["name"], described["corpus"]["pieces"]) == ("synthetic", 16)
    assert len(described["corpus"]["fingerprint"]) == 64
    train, held_out = described["split"]["train"], described["split"]["held_out"]
    assert (len(train), len(held_out), len({*train, *held_out})) == (12, 4, 16)
    assert described["device"]["platform"] == "cpu"
    assert {"python", "jax", "flax", "optax", "orbax-checkpoint", "mido", "numpy"} <= described["versions"].keys()
    assert "git_commit" in described


def test_plots(smoke_run: pathlib.Path):
    names = {path.name for path in (smoke_run / "plots").iterdir()}
    assert names >= {"corpus.png", "losses.png", "latents.png", "elbow.png", "dendrogram.png"}
    for path in smoke_run.rglob("*.png"):
        assert path.read_bytes().startswith(PNG)
        assert path.stat().st_size > 5000


def test_the_first_piece_and_the_held_out_ones_are_reconstructed(smoke_run: pathlib.Path):
    split = read_json(smoke_run / "run.json")["split"]
    first = min([*split["train"], *split["held_out"]])
    expected = {safe_stem(path) for path in [first, *split["held_out"]]}
    written = {path.name for path in (smoke_run / "reconstructions").iterdir() if path.is_file()}
    assert written == {f"{name}{end}" for name in expected for end in (".original.mid", ".reconstruction.mid", ".png")}
    others = {path.name for path in (smoke_run / "reconstructions" / "training").iterdir()}
    stems = {safe_stem(path) for path in split["train"]} - expected
    assert others == {f"{name}.{end}.mid" for name in stems for end in ("original", "reconstruction")}
    for path in (smoke_run / "reconstructions").rglob("*.mid"):
        assert len(read_score(path).notes) > 0 or path.name.endswith(".reconstruction.mid")


def test_samples_are_midi_files(smoke_run: pathlib.Path):
    names = sorted(path.name for path in (smoke_run / "samples").iterdir())
    assert names == [
        f"{kind}_{n:03d}.{end}" for kind in ("posterior", "prior") for n in (0, 1) for end in ("mid", "png")
    ]
    for path in (smoke_run / "samples").glob("*.mid"):
        read_score(path)


def test_every_epoch_is_logged(smoke_run: pathlib.Path):
    lines = [json.loads(line) for line in (smoke_run / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["epoch"]) for line in lines] == [(3 * n, n) for n in range(1, 7)]
    for line in lines:
        for subset in ("train", "held_out"):
            loss = line[f"{subset}_distortion"] + 0.5 * line[f"{subset}_kl_nats"]
            assert line[f"{subset}_loss"] == pytest.approx(loss, rel=1e-4)
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]


# The scores.


def test_the_scores_of_pieces_are_those_of_their_midi_files(small_run: pathlib.Path):
    metrics = read_json(small_run / "metrics.json")
    counts = {"held_out": [], "training": []}
    for row in metrics["pieces"]:
        stem = safe_stem(row["path"])
        place = next(path.parent for path in small_run.rglob(f"{stem}.original.mid"))
        original, reconstruction = (
            read_score(place / f"{stem}.{kind}.mid") for kind in ("original", "reconstruction")
        )  # fmt: skip
        count = note_matching.count_matches(original, reconstruction)
        assert row["note_f1_50ms"] == pytest.approx(count.f1, abs=0.01)  # MIDI rounds times to its ticks.
        counts[row["part"]].append(count)
    assert len(counts["held_out"]) == 2 and len(counts["training"]) == 4
    for subset, each in counts.items():
        total = 2 * sum(one.matched for one in each) / sum(one.reference + one.estimate for one in each)
        scores = metrics[subset]
        assert scores["note_f1_50ms"] == pytest.approx(total, abs=0.01)
        precision, recall = scores["note_precision_50ms"], scores["note_recall_50ms"]
        assert scores["note_f1_50ms"] == pytest.approx(2 * precision * recall / (precision + recall))
        low, high = scores["note_f1_50ms_interval"]
        assert min(one.f1 for one in each) <= low < scores["note_f1_50ms"] < high <= max(one.f1 for one in each)


def test_the_scores_of_a_subset_are_those_of_its_pieces_counts(small_run: pathlib.Path):
    metrics = read_json(small_run / "metrics.json")
    for subset in ("held_out", "training"):
        rows, scores = [row for row in metrics["pieces"] if row["part"] == subset], metrics[subset]
        for name in ("note_f1_50ms", "note_f1_50ms_offset", "drum_f1_50ms", "note_f1_grid", "note_f1_grid_part"):
            matched, reference, estimate = np.sum([row["counts"][name] for row in rows], axis=0)
            assert scores[name] == pytest.approx(2 * matched / (reference + estimate))
        nats, windows = np.sum([row["sums"]["kl_nats"] for row in rows], axis=0)
        assert scores["kl_nats"] == pytest.approx(nats / windows, rel=1e-5)
        assert {row["tune"] for row in rows} <= {row["path"] for row in rows}


def test_the_kl_is_that_of_the_posteriors(small_run: pathlib.Path):
    metrics = read_json(small_run / "metrics.json")
    with np.load(small_run / "latents.npz") as latents:
        mean, log_var, piece, is_training = (latents[name] for name in ("mean", "log_var", "piece", "is_training"))
    assert mean.shape == log_var.shape == (len(piece), 4)
    inference = load_experiment(str(small_run)).inference()
    posteriors = [Posterior(mean[piece == n], log_var[piece == n]) for n in range(6)]
    kl = inference.kl_nats(posteriors)
    for subset, is_chosen in (("training", True), ("held_out", False)):
        chosen = [rows for n, rows in enumerate(kl) if is_training[piece == n][0] == is_chosen]
        assert metrics[subset]["kl_nats"] == pytest.approx(np.concatenate(chosen).mean(), rel=0.1)  # Other samples.
        assert metrics[subset]["latent_dim"] == 4


def test_scores_lie_between_baselines_and_ceilings(small_run: pathlib.Path):
    metrics = read_json(small_run / "metrics.json")
    for subset in ("held_out", "training"):
        scores = metrics[subset]
        for name in ("note_f1_50ms", "note_f1_instrument", "note_f1_50ms_offset", "drum_f1_50ms"):
            assert scores[f"baseline_empty_{name}"] == 0 < scores[name] < scores[f"ceiling_{name}"]
        assert scores["ceiling_note_f1_50ms"] > 0.95
        assert scores["note_f1_grid_part"] < scores["note_f1_grid"]  # Merged groups can only match more.
    assert metrics["training"]["note_f1_grid"] > metrics["held_out"]["note_f1_grid"]
    assert metrics["training"]["note_f1_grid"] > 0.2


def test_notes_that_the_representation_leaves_out_are_counted(smoke_run: pathlib.Path):
    metrics = read_json(smoke_run / "metrics.json")
    assert metrics["corpus"] == "synthetic"
    totals = read_json(smoke_run / "ingest.json")["totals"]
    assert metrics["training"]["notes"] + metrics["held_out"]["notes"] == totals["notes"]
    for subset, pieces in (("training", 12), ("held_out", 4)):
        scores = metrics[subset]
        assert scores["pieces"] == pieces
        left_out = scores["notes_past_the_last_slot"] + scores["notes_in_tracks_past_the_last"]
        assert 0 < left_out < scores["notes"]
        assert 0.8 < scores["ceiling_note_f1_50ms"] < 1


# Resuming.


def load_arrays(folder: pathlib.Path) -> list[bytes]:
    """The bytes of every array of the newest checkpoint."""
    experiment = build_experiment(read_json(folder / "config.json"))
    abstract = step.abstract_state(experiment.trainable, experiment.train.average_decay, experiment.key())
    restored = checkpointing.restore(folder / "checkpoints", abstract)
    assert restored is not None and restored[1] == 18
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(restored[0])]


def assert_same_end(folder: pathlib.Path, expected: pathlib.Path) -> None:
    """Compares logs, scores, music and plots byte by byte, and the arrays of the last checkpoint.

    The page states how long the run took.
    """
    ends = []
    for one in (folder, expected):
        ends.append({
            name: digest
            for name, digest in content(one).items()
            if not name.startswith(("tensorboard/", "checkpoints/", "timing.json", "report.html"))
        })  # fmt: skip
    assert ends[0] == ends[1]
    states = [load_arrays(one) for one in (folder, expected)]
    assert len(states[0]) > 60
    assert states[0] == states[1]


def test_a_resumed_run_ends_as_the_uninterrupted_one(smoke_run: pathlib.Path, tmp_path: pathlib.Path):
    # The folder as a kill after the save at step 12 and before the one at step 18 would leave it.
    for name in ("config.json", "run.json", "ingest.json", "metrics.jsonl", "tensorboard", "checkpoints"):
        source = smoke_run / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    shutil.rmtree(tmp_path / "checkpoints" / "00000018")
    done = call("run.py", SMOKE, f"--workdir={tmp_path}")
    assert_success(done)
    assert f"resuming {tmp_path} from step 12 of 18" in done.stdout
    assert_same_end(tmp_path, smoke_run)


@pytest.mark.slow
def test_a_pianoroll_run_that_lost_its_last_epoch_ends_as_it_did(small_run: pathlib.Path, tmp_path: pathlib.Path):
    again = tmp_path / "again"
    shutil.copytree(small_run, again)
    shutil.rmtree(max((again / "checkpoints").iterdir()))
    (again / "metrics.json").unlink()
    done = call("run.py", *SMALL, f"--workdir={again}")
    assert_success(done)
    assert "resuming" in done.stdout
    for name in ("metrics.json", "metrics.jsonl", "calibration.json"):
        assert (again / name).read_bytes() == (small_run / name).read_bytes(), name
    with np.load(again / "latents.npz") as one, np.load(small_run / "latents.npz") as other:
        for name in other.files:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.slow
def test_a_killed_run_ends_as_the_uninterrupted_one(smoke_run: pathlib.Path, tmp_path: pathlib.Path):
    arguments = ("run.py", SMOKE, f"--workdir={tmp_path / 'run'}")
    process = start(*arguments)
    deadline = time.monotonic() + TIMEOUT_SEC
    while not (tmp_path / "run" / "checkpoints" / "00000006").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "run" / "metrics.json").exists()
    done = run(*arguments)
    assert_success(done)
    assert "resuming" in done.stdout
    assert_same_end(tmp_path / "run", smoke_run)


@pytest.mark.slow
def test_folds_that_were_killed_end_as_the_uninterrupted_ones(tmp_path: pathlib.Path):
    arguments = ["run.py", SMOKE, "--config.data.num_folds=2", "--config.data.num_held_out=2", "--config.sample.num=0"]
    arguments += ["--config.data.num_synthetic=4", "--config.train.checkpoint_every_epochs=1"]
    whole = run(*arguments, f"--workdir={tmp_path / 'whole'}")
    assert_success(whole)
    assert "2 folds, 4 tunes held out once" in whole.stdout
    folder = tmp_path / "killed"
    process = start(*arguments, f"--workdir={folder}")
    deadline = time.monotonic() + TIMEOUT_SEC
    while not any(path.name.isdigit() for path in folder.glob("fold_1/checkpoints/*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "metrics.json").exists()
    before = content(folder / "fold_0")
    done = run(*arguments, f"--workdir={folder}")
    assert_success(done)
    assert f"finished before: {folder / 'fold_0'}" in done.stdout and "resuming" in done.stdout
    assert content(folder / "fold_0") == before
    for name in ("metrics.json", "report.html", "fold_1/metrics.json", "fold_1/calibration.json"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


# Other corpora.


@pytest.mark.slow
def test_without_a_network_the_run_trains_on_the_synthetic_corpus_and_warns(tmp_path: pathlib.Path):
    changes = ("--config.data.path=", f"--config.data.url={REFUSED_URL}", "--config.train.num_epochs=1")
    done = run("run.py", SMOKE, f"--workdir={tmp_path / 'run'}", *changes)
    assert_success(done)
    (warning,) = (line for line in done.stderr.splitlines() if line.startswith("warning:"))
    assert "synthetic corpus" in warning
    assert "corpus: synthetic" in done.stdout
    assert read_json(tmp_path / "run" / "run.json")["corpus"]["name"] == "synthetic"
    assert read_json(tmp_path / "run" / "metrics.json")["corpus"] == "synthetic"


def test_a_folder_of_a_few_melodies_with_one_track_trains(tmp_path: pathlib.Path):
    rng = np.random.default_rng(0)
    (tmp_path / "songs").mkdir()
    for n, meter in enumerate([Meter(0, 3, 4), Meter(0, 6, 8), Meter(0, 5, 4), Meter(0, 2, 4)]):
        steps = rng.choice([-2, -1, 1, 2], size=60).cumsum() % 12
        score = make_score(480, make_notes(np.arange(60) * 240, 240, 60 + steps), meters=[meter])
        (tmp_path / "songs" / f"melody {n}.MID").write_bytes(midi.write_midi(score))
    options = [option for option in SMALL if not option.startswith("--config.composer")]
    config = tmp_path / "without_composer.py"
    config.write_text(
        "from configs import anthems\n\n\ndef get_config():\n"
        "    config = anthems.get_config()\n    del config.composer\n    return config\n"
    )
    done = call(
        *("run.py", f"--config={config}", *options[1:], f"--config.data.path={tmp_path / 'songs'}"),
        *("--config.train.min_steps=150", "--config.model.latent_dim=8", "--config.representation.steps_per_beat=4"),
        *("--config.representation.training_hop_beats=1", f"--workdir={tmp_path / 'run'}"),
    )
    assert_success(done)
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert metrics["held_out"]["pieces"] == 2
    assert metrics["training"]["ceiling_note_f1_instrument"] == 1
    assert metrics["training"]["note_f1_grid"] > 0.5


# Bad input: one clear line each, and nothing overwritten.


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["--config"]),
        (["--config=configs/none.py"], ["configs/none.py"]),
        (["--config=requirements.txt"], ["requirements.txt"]),
        ([SMOKE, "--config.model.depth=3"], ["depth", "no such field"]),
        ([SMOKE, "--config.modle.filters=3"], ["modle", "no such field"]),
        ([SMOKE, "--config.train.batch_size=many"], ["batch_size", "many"]),
        ([SMOKE, "--config.train.batch_size=1.5"], ["batch_size", "1.5"]),
        ([SMOKE, "--config.data.allow_chorales=perhaps"], ["allow_chorales"]),
        ([SMOKE, "--workdri=x"], ["workdri"]),
        ([SMOKE, "extra"], ["extra"]),
        ([SMOKE, "--config.name=../../evil"], ["config.name"]),
        ([SMOKE, "--workdir=/dev/null"], ["/dev/null"]),
        ([SMOKE, "--workdir=/dev/null/run"], ["/dev/null/run"]),
        ([SMOKE, "--workdir=" + "x" * 300], ["File name too long"]),
        ([SMOKE, "--workdir={run}", "--config.data.path=/dev/zero"], ["/dev/zero"]),
        ([SMOKE, "--workdir={run}", "--config.train.num_epochs=999999999999999999"], ["num_epochs"]),
        ([SMOKE, "--workdir={run}", "--config.train=7"], ["config.train"]),
        ([SMOKE, "--workdir={run}", "--config.data.num_held_out=-1"], ["num_held_out"]),
        ([*SMALL, "--config.model.name=conv_vae", "--workdir={run}"], ["note_matrix"]),
        ([*SMALL, "--config.data.num_folds=50", "--workdir={run}"], ["num_folds must lie in"]),
        ([*SMALL, "--config.data.num_folds=2", "--config.data.num_held_out=0", "--workdir={run}"], ["num_held_out"]),
        ([*SMALL, "--config.model.latent_dim=0", "--workdir={run}"], ["latent_dim must be at least 1"]),
        ([*SMALL, "--config.optimizer.name=sgd", "--workdir={run}"], ["config.optimizer.name must be one of"]),
        ([*SMALL, "--config.representation.num_pitches=500", "--workdir={run}"], ["num_pitches"]),
    ],
    ids=lambda value: value[-1][:40].replace("/", "|") if value and value[-1].startswith("--") else "",
)  # fmt: skip
def test_a_mistake_is_one_line_and_leaves_nothing(arguments: list[str], parts: list[str], tmp_path: pathlib.Path):
    before = sorted(path.name for path in REPOSITORY.iterdir())
    assert_one_error(call("run.py", *(one.format(run=tmp_path / "run") for one in arguments)), *parts)
    assert sorted(path.name for path in REPOSITORY.iterdir()) == before
    assert not (tmp_path / "run").exists()


def test_a_mistake_is_one_line_of_the_process():
    assert_one_error(run("run.py", SMOKE, "--config.model.depth=3"), "depth", "no such field")


@pytest.mark.parametrize("what", ["seed", "corpus"])
def test_a_folder_with_another_run_is_refused_by_what_differs(
    smoke_run: pathlib.Path, tmp_path: pathlib.Path, what: str
):
    (tmp_path / "other.mid").write_bytes(tune_bytes(0))
    change, parts = {
        "seed": ("--config.seed=1", ["config.seed is 0 there and 1 here"]),
        "corpus": (f"--config.data.path={tmp_path / 'other.mid'}", ["another corpus", "other.mid", "synthetic"]),
    }[what]
    before = content(smoke_run)
    assert_one_error(call("run.py", SMOKE, f"--workdir={smoke_run}", change), str(smoke_run), *parts)
    assert content(smoke_run) == before


def test_a_folder_with_other_files_is_refused(tmp_path: pathlib.Path):
    (tmp_path / "thesis.tex").write_text("five years of work")
    assert_one_error(call("run.py", SMOKE, f"--workdir={tmp_path}"), str(tmp_path), "not empty")
    done = call("run.py", SMOKE, f"--workdir={tmp_path / 'thesis.tex'}")
    assert_one_error(done, "thesis.tex", "a file, not a folder")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("thesis.tex", "five years of work")]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "no such file"),
        ("empty", "no music file found"),
        ("no usable file", "text.mid: not a MIDI file"),
    ],
)
def test_an_unusable_corpus_is_refused_before_a_run_is_made(tmp_path: pathlib.Path, kind: str, reason: str):
    path = tmp_path / "songs"
    if kind != "missing":
        path.mkdir()
    if kind == "no usable file":
        (path / "text.mid").write_text("Dear diary,")
    done = call("run.py", SMOKE, f"--workdir={tmp_path / 'run'}", f"--config.data.path={path}")
    assert_one_error(done, str(path), reason)
    assert not (tmp_path / "run").exists()


def test_without_the_anthems_and_the_synthetic_corpus_there_is_no_run(tmp_path: pathlib.Path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    changes = ("--config.data.path=", f"--config.data.url={REFUSED_URL}", "--config.data.allow_chorales=False")
    done = call("run.py", SMOKE, f"--workdir={tmp_path / 'run'}", *changes)
    assert_one_error(done, REFUSED_URL, "--config.data.path=FOLDER_OR_ZIP")
    assert not (tmp_path / "run").exists()
