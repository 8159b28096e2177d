"""The commands as a user runs them: one run of the smoke config, what it leaves, and what bad input ends in."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import pytest

from configs import anthems as anthems_config
from configs import post, smoke
from vae_jax.data import corpus
from vae_jax.music import midi
from vae_jax.music.score import Score, make_notes, make_score
from vae_jax.runtime import files
from vae_jax.runtime.errors import UserError
from vae_jax.training import run_dir
from vae_jax.training.experiment import build_experiment, load_experiment

REPOSITORY = pathlib.Path(__file__).parents[2]
PNG = b"\x89PNG\r\n\x1a\n"
TIMEOUT_SEC = 600
REFUSED_URL = "http://127.0.0.1:9/NationalAnthems.zip"  # The discard service, which nobody runs.


def start(cache: pathlib.Path, *arguments: object) -> subprocess.Popen[str]:
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "VAE_JAX_CACHE": str(cache),
        "no_proxy": "127.0.0.1",
        "PYTHONUNBUFFERED": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),  # The commands compile the same programs: once is enough.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(cache: pathlib.Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    process = start(cache, *arguments)
    try:
        out, err = process.communicate(timeout=TIMEOUT_SEC)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def assert_success(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr


def assert_one_error(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert "Traceback" not in result.stderr, result.stderr
    (line,) = (line for line in result.stderr.splitlines() if not line.startswith("warning:"))
    assert line.startswith("error:")
    for part in parts:
        assert part in line
    assert result.returncode not in (0, None)


def content(folder: pathlib.Path) -> dict[str, str]:
    """Hash of every file of a folder by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def melody(seed: int) -> Score:
    pitches = [60 + (seed * 5 + n * n) % 20 for n in range(30)]
    return make_score(480, make_notes([480 * n for n in range(30)], 240, pitches), track_names=["melody"])


def music_in(path: pathlib.Path) -> Score:
    reading = midi.read_midi(path.read_bytes())
    assert reading.warnings == ()
    return reading.score


@dataclasses.dataclass(frozen=True)
class SmokeRun:
    """A run of configs/smoke.py that no test may change."""

    folder: pathlib.Path
    result: subprocess.CompletedProcess[str]

    def json(self, name: str):
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An empty cache folder in place of the user's own."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def smoke_run(tmp_path_factory: pytest.TempPathFactory, cache: pathlib.Path) -> SmokeRun:
    folder = tmp_path_factory.mktemp("runs") / "new" / "smoke"
    return SmokeRun(folder, command(cache, "run.py", "--config=configs/smoke.py", f"--workdir={folder}"))


# The main job.


def test_the_smoke_run_succeeds_and_says_what_came_of_it(smoke_run: SmokeRun):
    assert_success(smoke_run.result)
    out = smoke_run.result.stdout
    assert "16 files: 16 loaded (0 of them repaired), 0 refused" in out
    assert "epoch 6/6 loss" in out
    assert "corpus: synthetic" in out
    assert out.splitlines()[-1] == f"everything is in {smoke_run.folder}"
    assert "resuming" not in out


def test_the_runs_folder_has_its_layout(smoke_run: SmokeRun):
    there = {path.name for path in smoke_run.folder.iterdir()}
    assert there >= {
        "config.json", "run.json", "ingest.json", "metrics.json", "metrics.jsonl", "checkpoints", "plots",
        "reconstructions", "samples", "report.html",
    }  # fmt: skip
    assert list(smoke_run.folder.rglob("events.out.tfevents*"))
    assert not list(smoke_run.folder.rglob("*.tmp")) + list(smoke_run.folder.rglob("*.saving"))
    steps = sorted(path.name for path in (smoke_run.folder / "checkpoints").iterdir())
    assert steps == ["00000012", "00000018"]
    assert all((smoke_run.folder / "checkpoints" / step / "manifest.json").is_file() for step in steps)


def test_the_pictures_are_there(smoke_run: SmokeRun):
    plots = {path.name for path in (smoke_run.folder / "plots").iterdir()}
    assert plots >= {"corpus.png", "losses.png", "latents.png", "elbow.png", "dendrogram.png"}
    for path in smoke_run.folder.rglob("*.png"):
        assert path.read_bytes().startswith(PNG)
        assert path.stat().st_size > 5000


def test_the_first_piece_and_the_held_out_ones_are_reconstructed(smoke_run: SmokeRun):
    split = smoke_run.json("run.json")["split"]
    expected = {
        pathlib.PurePosixPath(path).stem for path in ["synthetic_0000_C_major.mid", *split["held_out"]]
    }  # fmt: skip
    written = {path.name for path in (smoke_run.folder / "reconstructions").iterdir() if path.is_file()}
    assert written == {f"{name}{end}" for name in expected for end in (".original.mid", ".reconstruction.mid", ".png")}
    others = {path.name for path in (smoke_run.folder / "reconstructions" / "training").iterdir()}
    stems = {pathlib.PurePosixPath(path).stem for path in split["train"]} - expected
    assert others == {f"{name}.{end}.mid" for name in stems for end in ("original", "reconstruction")}
    for path in (smoke_run.folder / "reconstructions").glob("*.mid"):
        score = music_in(path)
        assert len(score.notes) > 0 or path.name.endswith(".reconstruction.mid")


def test_samples_can_be_played(smoke_run: SmokeRun):
    names = sorted(path.name for path in (smoke_run.folder / "samples").iterdir())
    assert names == [
        f"{kind}_{n:03d}.{end}" for kind in ("posterior", "prior") for n in range(2) for end in ("mid", "png")
    ]
    for path in (smoke_run.folder / "samples").glob("*.mid"):
        music_in(path)


def test_the_config_is_resolved(smoke_run: SmokeRun):
    assert smoke_run.json("config.json") == json.loads(smoke.get_config().to_json())


def test_the_run_is_described(smoke_run: SmokeRun):
    run = smoke_run.json("run.json")
    assert run["run_id"]
    assert run["seed"] == 0
    assert run["corpus"]["name"] == "synthetic"
    assert (run["corpus"]["pieces"], len(run["corpus"]["fingerprint"])) == (16, 64)
    train, held_out = run["split"]["train"], run["split"]["held_out"]
    assert (len(train), len(held_out), len({*train, *held_out})) == (12, 4, 16)
    assert run["device"]["platform"] == "cpu"
    assert {"python", "jax", "flax", "optax", "orbax-checkpoint", "mido", "numpy"} <= run["versions"].keys()
    assert "git_commit" in run


def test_every_epoch_is_logged(smoke_run: SmokeRun):
    lines = [json.loads(line) for line in (smoke_run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["epoch"]) for line in lines] == [(3 * n, n) for n in range(1, 7)]
    for line in lines:
        for part in ("train", "held_out"):
            loss = line[f"{part}_msle"] + 0.5 * line[f"{part}_kl_nats"]
            assert line[f"{part}_loss"] == pytest.approx(loss, rel=1e-4)
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]


def test_the_scores_are_those_of_the_documentation(smoke_run: SmokeRun):
    metrics = smoke_run.json("metrics.json")
    assert metrics["corpus"] == "synthetic"
    for part, pieces in [("training", 12), ("held_out", 4)]:
        scores = metrics[part]
        assert scores["pieces"] == pieces
        for name in ("note_f1_50ms", "note_f1_50ms_offset", "drum_f1_50ms"):
            assert 0 <= scores[name] <= 1
            low, high = scores[f"{name}_interval"]
            assert 0 <= low <= high <= 1
            assert scores[f"baseline_empty_{name}"] == 0
            assert scores[name] <= scores[f"ceiling_{name}"] <= 1
            assert 0 <= scores[f"baseline_mean_{name}"] <= 1
        for name in ("note_precision_50ms", "note_recall_50ms", "note_precision_50ms_offset", "drum_recall_50ms"):
            assert 0 <= scores[name] <= 1
        assert scores["ceiling_note_f1_50ms"] > 0.8
        assert scores["kl_nats"] >= 0
        assert (scores["latent_dim"], scores["active_units"] <= 2) == (2, True)
        lost = scores["notes_past_the_last_slot"] + scores["notes_in_tracks_past_the_last"]
        assert 0 < lost < scores["notes"]
    assert (
        metrics["training"]["notes"] + metrics["held_out"]["notes"] == smoke_run.json("ingest.json")["totals"]["notes"]
    )


def test_a_resumed_run_says_so_and_ends_as_the_uninterrupted_one(
    smoke_run: SmokeRun, tmp_path: pathlib.Path, cache: pathlib.Path
):
    # The folder as a kill after the save at step 12 and before the one at step 18 would leave it.
    for name in ("config.json", "run.json", "ingest.json", "metrics.jsonl", "tensorboard", "checkpoints"):
        source = smoke_run.folder / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    shutil.rmtree(tmp_path / "checkpoints" / "00000018")
    result = command(cache, "run.py", "--config=configs/smoke.py", f"--workdir={tmp_path}")
    assert_success(result)
    assert f"resuming {tmp_path} from step 12 of 18" in result.stdout
    assert_same_end(tmp_path, smoke_run.folder)


def assert_same_end(folder: pathlib.Path, expected: pathlib.Path) -> None:
    """Compares logs, scores, music and pictures byte by byte, and the arrays of the last checkpoint.

    The page tells how long the run took.
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


def load_arrays(folder: pathlib.Path) -> list[bytes]:
    """The bytes of every array of the newest checkpoint."""
    import jax
    import numpy as np

    from vae_jax.training import checkpointing

    experiment = build_experiment(json.loads((folder / "config.json").read_text()))
    state, step = checkpointing.restore(folder / "checkpoints", experiment.abstract_state())
    assert step == 18
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


@pytest.mark.slow
def test_a_run_killed_without_warning_ends_as_the_uninterrupted_one(
    smoke_run: SmokeRun, tmp_path: pathlib.Path, cache: pathlib.Path
):
    arguments = ("run.py", "--config=configs/smoke.py", f"--workdir={tmp_path / 'run'}")
    process = start(cache, *arguments)
    deadline = time.monotonic() + TIMEOUT_SEC
    while not (tmp_path / "run" / "checkpoints" / "00000006").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "run" / "metrics.json").exists()
    result = command(cache, *arguments)
    assert_success(result)
    assert "resuming" in result.stdout
    assert_same_end(tmp_path / "run", smoke_run.folder)


@pytest.mark.slow
def test_without_a_network_the_run_trains_on_the_synthetic_corpus_and_says_so(
    tmp_path: pathlib.Path, cache: pathlib.Path
):
    changes = ("--config.data.path=", f"--config.data.url={REFUSED_URL}", "--config.train.num_epochs=1")
    result = command(cache, "run.py", "--config=configs/smoke.py", f"--workdir={tmp_path / 'run'}", *changes)
    assert_success(result)
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1
    assert "synthetic corpus" in warnings[0]
    assert "corpus: synthetic" in result.stdout
    assert json.loads((tmp_path / "run" / "run.json").read_text())["corpus"]["name"] == "synthetic"
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["corpus"] == "synthetic"


# Reading a corpus.


def test_ingest_reads_all_anthems(anthems: pathlib.Path, tmp_path: pathlib.Path, cache: pathlib.Path):
    output = tmp_path / "new" / "ingest.json"
    result = command(cache, "-m", "vae_jax.ingest", f"--path={anthems}", f"--output={output}")
    assert_success(result)
    last = "135 files: 135 loaded (1 of them repaired), 0 refused, 153,617 notes, 127 tunes"
    assert result.stdout.splitlines()[-1] == last
    report = json.loads(output.read_text(encoding="utf-8"))
    totals = {"files": 135, "loaded": 135, "repaired": 1, "refused": 0, "notes": 153_617, "tunes": 127}
    assert report["totals"] == totals
    assert len(report["files"]) == 135
    assert sum(file["notes"] for file in report["files"]) == 153_617
    assert [file["path"] for file in report["files"] if file["status"] == "repaired"] == [
        "NationalAnthems/Mongolia.mid"
    ]
    folder = "NationalAnthems"
    assert [f"{folder}/China.mid", f"{folder}/Hong_Kong.mid"] in report["duplicates"]
    assert [f"{folder}/Cyprus.mid", f"{folder}/Greece.mid"] in report["duplicates"]


def test_ingest_tells_of_each_file(tmp_path: pathlib.Path, cache: pathlib.Path):
    folder = tmp_path / "songs"
    folder.mkdir()
    (folder / "good.mid").write_bytes(midi.write_midi(melody(0)))
    (folder / "odd\x1b[2J.mid").write_bytes(b"\0" + midi.write_midi(melody(1)))
    (folder / "text.mid").write_text("Dear diary,")
    result = command(cache, "-m", "vae_jax.ingest", f"--path={folder}", f"--output={tmp_path / 'ingest.json'}")
    assert_success(result)
    assert result.stdout.splitlines()[-1].startswith("3 files: 2 loaded (1 of them repaired), 1 refused, 60 notes, ")
    assert "not a MIDI file (no MThd header)" in result.stdout
    assert "\x1b" not in result.stdout
    report = {file["path"]: file for file in json.loads((tmp_path / "ingest.json").read_text())["files"]}
    assert report["good.mid"]["status"] == "loaded"
    assert (report["good.mid"]["notes"], report["good.mid"]["tracks"], report["good.mid"]["reasons"]) == (30, 1, [])
    assert report["odd\x1b[2J.mid"]["reasons"] == ["1 bytes before the header skipped"]
    assert (report["text.mid"]["status"], report["text.mid"]["notes"]) == ("refused", 0)
    assert report["text.mid"]["reasons"] == ["not a MIDI file (no MThd header)"]


# Reconstructions and samples.

MEMBERS = ["a b.mid", "a_b.mid", "../../evil.mid", "国歌.mid"]


@dataclasses.dataclass(frozen=True)
class Reconstructed:
    """What reconstructing one zip with awkward names gave."""

    folder: pathlib.Path
    result: subprocess.CompletedProcess[str]

    def originals(self) -> list[Score]:
        return [music_in(path) for path in self.folder.rglob("*.original.mid")]


@pytest.fixture(scope="module")
def reconstructed(
    smoke_run: SmokeRun, tmp_path_factory: pytest.TempPathFactory, cache: pathlib.Path
) -> Reconstructed:  # fmt: skip
    folder = tmp_path_factory.mktemp("reconstruct") / "inner" / "deep"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "songs.zip", "w") as archive:
        for n, name in enumerate(MEMBERS):
            archive.writestr(name, midi.write_midi(melody(n)))
        archive.writestr("text.mid", "Dear diary,")
    before = content(smoke_run.folder)
    arguments = (f"--workdir={smoke_run.folder}", f"--input={folder / 'songs.zip'}", f"--output={folder / 'out'}")
    result = command(cache, "-m", "vae_jax.reconstruct", *arguments)
    assert content(smoke_run.folder) == before
    return Reconstructed(folder / "out", result)


def test_reconstruct_writes_music_and_pictures_and_a_line_each(reconstructed: Reconstructed):
    assert_success(reconstructed.result)
    out = reconstructed.result.stdout
    assert "a b: " in out
    assert "(from 30 notes)" in out
    assert "note F1 at 50 ms" in out
    assert "text.mid: refused (not a MIDI file (no MThd header))" in out
    assert melody(2) in reconstructed.originals()
    for path in reconstructed.folder.rglob("*.mid"):
        music_in(path)
    assert all(path.read_bytes().startswith(PNG) for path in reconstructed.folder.rglob("*.png"))


def test_no_reconstruction_takes_the_place_of_another(reconstructed: Reconstructed):
    originals = reconstructed.originals()
    assert [n for n in range(len(MEMBERS)) if melody(n) not in originals] == []
    assert len(list(reconstructed.folder.rglob("*.reconstruction.mid"))) == len(MEMBERS)
    assert len(list(reconstructed.folder.rglob("*.png"))) == len(MEMBERS)


def test_reconstruct_writes_into_its_output_only(reconstructed: Reconstructed):
    outside = reconstructed.folder.parents[1]
    written = [path for path in outside.rglob("*") if path.is_file() and reconstructed.folder not in path.parents]
    assert [path.name for path in written] == ["songs.zip"]


def test_samples_of_the_same_seed_are_the_same_bytes(smoke_run: SmokeRun, tmp_path: pathlib.Path, cache: pathlib.Path):
    for name, num, seed in [("again", 2, 0), ("other", 3, 6)]:
        arguments = (f"--workdir={smoke_run.folder}", f"--num={num}", f"--seed={seed}", f"--output={tmp_path / name}")
        assert_success(command(cache, "-m", "vae_jax.sample", *arguments))
    again, other = (content(tmp_path / name) for name in ("again", "other"))
    left_by_the_run = content(smoke_run.folder / "samples")
    for n in range(2):
        assert again[f"sample_{n:03d}.mid"] == left_by_the_run[f"prior_{n:03d}.mid"]
    assert sorted(other) == [f"sample_{n:03d}.{end}" for n in range(3) for end in ("mid", "png")]
    assert again["sample_000.mid"] != other["sample_000.mid"]
    for path in tmp_path.rglob("*.mid"):
        music_in(path)


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", "/", "a/../b", "\0", "...hidden", "国歌", "x" * 500, "国歌" * 40, "con\n"],
    ids=lambda name: ascii(name)[:20],
)
def test_any_text_becomes_the_name_of_a_file(tmp_path: pathlib.Path, name: str):
    path = tmp_path / f"{files.safe_name(name)}.reconstruction.mid"
    files.write_bytes(path, b"music")
    assert path.resolve().parent == tmp_path.resolve()
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert not path.name.startswith(".")


# Bad input: one clear line each, and nothing overwritten.


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run.py"], ["--config"]),
        (["run.py", "--config=configs/none.py"], ["configs/none.py"]),
        (["run.py", "--config=requirements.txt"], ["requirements.txt"]),
        (["run.py", "--config=configs/smoke.py", "--config.model.depth=3"], ["depth", "no such field"]),
        (["run.py", "--config=configs/smoke.py", "--config.modle.filters=3"], ["modle", "no such field"]),
        (["run.py", "--config=configs/smoke.py", "--config.train.batch_size=many"], ["batch_size", "many"]),
        (["run.py", "--config=configs/smoke.py", "--config.train.batch_size=1.5"], ["batch_size", "1.5"]),
        (["run.py", "--config=configs/smoke.py", "--config.data.allow_synthetic=perhaps"], ["allow_synthetic"]),
        (["run.py", "--config=configs/smoke.py", "--workdri=x"], ["workdri"]),
        (["run.py", "--config=configs/smoke.py", "extra"], ["extra"]),
        (["-m", "vae_jax.ingest", "--path=no/such/folder"], ["no/such/folder", "no such file or folder"]),
        (["-m", "vae_jax.ingest", "--path=run.py"], ["run.py", "not a MIDI file"]),
        (["-m", "vae_jax.ingest", "--path=configs"], ["configs", "no MIDI file found"]),
        (["-m", "vae_jax.ingest", "--path=configs", "--ouptut=x"], ["ouptut"]),
        (["-m", "vae_jax.sample", "--workdir=no/such/run", "--output=x"], ["no/such/run", "no run here"]),
        (["-m", "vae_jax.sample", "--workdir=no/such/run"], ["--output is missing"]),
        (["-m", "vae_jax.sample", "--num=0", "--workdir=x", "--output=x"], ["num"]),
    ],
    ids=lambda value: " ".join(value[1:]).replace("/", "|") if value[0] in ("run.py", "-m") else "",
)
def test_a_mistake_in_the_flags_is_one_line(arguments: list[str], parts: list[str], cache: pathlib.Path):
    before = sorted(path.name for path in REPOSITORY.iterdir())
    assert_one_error(command(cache, *arguments), *parts)
    assert sorted(path.name for path in REPOSITORY.iterdir()) == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train.batch_size", 0),
        ("train.num_epochs", -1),
        ("train.keep_checkpoints", 0),
        ("train.checkpoint_every_epochs", 0),
        ("train.eval_every_epochs", 0),
        ("optimizer.learning_rate", 0.0),
        ("optimizer.learning_rate", float("nan")),
        ("optimizer.name", "adamw"),
        ("model.latent_dim", 0),
        ("model.hidden", 3),
        ("model.name", "transformer"),
        ("model.reparameterisation", "keras"),
        ("representation.num_notes", -5),
        ("representation.name", "spectrogram"),
        ("loss.reconstruction", "bce"),
        ("data.num_held_out", -1),
        ("sample.num", -1),
        ("seed", -1),
        ("seed", 2**32),  # Beyond what k-means takes for a seed.
        ("sample.seed", 2**70),
    ],
)
def test_a_value_that_no_run_can_have_is_refused_by_its_field(field: str, value: object):
    config = copy.deepcopy(smoke.get_config().to_dict())
    section, _, name = field.rpartition(".")
    (config[section] if section else config)[name] = value
    with pytest.raises(UserError) as caught:
        build_experiment(config)
    assert f"config.{field}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("module", [post, smoke, anthems_config])
def test_every_config_can_be_built(module):
    experiment = build_experiment(module.get_config().to_dict())
    assert experiment.config["name"] == pathlib.Path(module.__file__).stem


def test_the_posts_config_is_the_posts_experiment():
    config = post.get_config()
    assert (config.train.batch_size, config.train.num_epochs, config.data.num_held_out) == (10, 100, 10)
    assert (config.loss.reconstruction, config.loss.loss_factor, config.loss.reg_factor) == ("msle", 1.0, 0.5)
    assert (config.optimizer.name, config.optimizer.learning_rate) == ("rmsprop", 1e-3)
    assert (config.model.latent_dim, config.model.reparameterisation) == (2, "post")


@pytest.mark.parametrize("what", ["seed", "corpus"])
def test_a_folder_with_another_run_is_refused_by_what_differs(
    smoke_run: SmokeRun, tmp_path: pathlib.Path, cache: pathlib.Path, what: str
):
    (tmp_path / "other.mid").write_bytes(midi.write_midi(melody(0)))
    change, parts = {
        "seed": ("--config.seed=1", ["config.seed is 0 there and 1 here"]),
        "corpus": (f"--config.data.path={tmp_path / 'other.mid'}", ["another corpus", "other.mid", "synthetic"]),
    }[what]
    before = content(smoke_run.folder)
    arguments = ("run.py", "--config=configs/smoke.py", f"--workdir={smoke_run.folder}", change)
    assert_one_error(command(cache, *arguments), str(smoke_run.folder), *parts)
    assert content(smoke_run.folder) == before


def test_every_field_that_differs_is_named(smoke_run: SmokeRun):
    config = copy.deepcopy(smoke.get_config().to_dict())
    config["model"]["filters"], config["train"]["batch_size"] = 8, 4
    source = corpus.synthetic_corpus(16, 0)
    with pytest.raises(UserError) as caught:
        run_dir.open_run(str(smoke_run.folder), config, source, corpus.split_corpus(source, 4, 0))
    assert "config.model.filters is 4 there and 8 here" in str(caught.value)
    assert "config.train.batch_size is 5 there and 4 here" in str(caught.value)


def test_the_same_files_by_another_path_are_the_same_run(tmp_path: pathlib.Path):
    config = copy.deepcopy(smoke.get_config().to_dict())
    source = corpus.synthetic_corpus(4, 0)
    split = corpus.split_corpus(source, 1, 0)
    folder = run_dir.open_run(str(tmp_path / "run"), config, source, split)
    before = content(folder.path)
    config["data"]["path"] = "elsewhere"
    assert run_dir.open_run(str(tmp_path / "run"), config, source, split) == folder
    assert content(folder.path) == before


def test_a_folder_with_other_things_is_refused(tmp_path: pathlib.Path, cache: pathlib.Path):
    (tmp_path / "thesis.tex").write_text("five years of work")
    result = command(cache, "run.py", "--config=configs/smoke.py", f"--workdir={tmp_path}")
    assert_one_error(result, str(tmp_path), "not empty")
    result = command(cache, "run.py", "--config=configs/smoke.py", f"--workdir={tmp_path / 'thesis.tex'}")
    assert_one_error(result, "thesis.tex", "a file, not a folder")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("thesis.tex", "five years of work")]


@pytest.mark.parametrize("kind", ["missing", "empty", "no usable file"])
def test_a_corpus_that_is_none_is_refused_before_a_run_is_made(tmp_path: pathlib.Path, cache: pathlib.Path, kind: str):
    path = tmp_path / "songs"
    if kind != "missing":
        path.mkdir()
    if kind == "no usable file":
        (path / "text.mid").write_text("Dear diary,")
    arguments = ("--config=configs/smoke.py", f"--workdir={tmp_path / 'run'}", f"--config.data.path={path}")
    reason = {"missing": "no such file", "empty": "no MIDI file found", "no usable file": "text.mid: not a MIDI file"}
    assert_one_error(command(cache, "run.py", *arguments), str(path), reason[kind])
    assert not (tmp_path / "run").exists()


def test_without_the_anthems_and_the_synthetic_corpus_there_is_no_run(tmp_path: pathlib.Path, cache: pathlib.Path):
    changes = ("--config.data.path=", f"--config.data.url={REFUSED_URL}", "--config.data.allow_synthetic=False")
    result = command(cache, "run.py", "--config=configs/smoke.py", f"--workdir={tmp_path / 'run'}", *changes)
    assert_one_error(result, REFUSED_URL, "--config.data.path=FOLDER_OR_ZIP")
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_checkpoint_cannot_be_used(smoke_run: SmokeRun, tmp_path: pathlib.Path, cache: pathlib.Path):
    for name in ("config.json", "run.json"):
        shutil.copy(smoke_run.folder / name, tmp_path / name)
    result = command(cache, "-m", "vae_jax.sample", f"--workdir={tmp_path}", f"--output={tmp_path / 'out'}")
    assert_one_error(result, str(tmp_path), "no checkpoint")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "text"), [("config.json", "{"), ("config.json", "[]"), ("config.json", "{}"), ("run.json", "{")]
)
def test_a_damaged_run_cannot_be_used(smoke_run: SmokeRun, tmp_path: pathlib.Path, name: str, text: str):
    for one in ("config.json", "run.json"):
        shutil.copy(smoke_run.folder / one, tmp_path / one)
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError):
        load_experiment(str(tmp_path))


def test_a_text_file_cannot_be_reconstructed(smoke_run: SmokeRun, tmp_path: pathlib.Path, cache: pathlib.Path):
    (tmp_path / "text.mid").write_text("Dear diary,")
    arguments = (f"--workdir={smoke_run.folder}", f"--input={tmp_path / 'text.mid'}", f"--output={tmp_path / 'out'}")
    assert_one_error(command(cache, "-m", "vae_jax.reconstruct", *arguments), "text.mid", "not a MIDI file")
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_told(smoke_run: SmokeRun, tmp_path: pathlib.Path, cache: pathlib.Path):
    (tmp_path / "file").write_text("no folder")
    arguments = (f"--workdir={smoke_run.folder}", "--num=1", f"--output={tmp_path / 'file' / 'out'}")
    assert_one_error(command(cache, "-m", "vae_jax.sample", *arguments), "cannot be written")
    assert (tmp_path / "file").read_text() == "no folder"
