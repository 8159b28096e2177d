"""Shards: the same batches as in memory, resumed after a kill, and damage reported in one line."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest
from builders import tune, tune_bytes, write_zip
from command_line import REPOSITORY, SMALL, run
from tiny_run import CONFIG as TINY
from tiny_run import TinyRun, lines

from configs import anthems
from vae_jax.data import corpus, ingest_report, sources
from vae_jax.data.dataset import ArrayExamples, Examples, take
from vae_jax.data.shards import corpus_view, format, reader, writer
from vae_jax.music import midi
from vae_jax.runtime import files
from vae_jax.runtime.errors import UserError
from vae_jax.training import experiment, loop, run_dir, step
from vae_jax.training.config import TrainConfig
from vae_jax.training.run_dir import RunFolder

pytest.importorskip("grain")
pytest.importorskip("array_record")

CHUNK_FILES = 4
NUM_GOOD = 12
CONFIG = anthems.get_config().to_dict()
CONFIG["representation"] |= {"max_notes": 24, "crop_beats": 8, "training_hop_beats": 1}
DATA = CONFIG["data"] | {"num_held_out": 3, "split_seed": 1, "num_evaluated_train": 100}  # Nine and three.


def write(path: pathlib.Path, folder: pathlib.Path, workers: int = 1, **changes: Any) -> dict[str, Any]:
    config = CONFIG | {"representation": CONFIG["representation"] | changes}
    return writer.write_shards(folder, config, str(path), num_workers=workers, chunk_files=CHUNK_FILES)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@pytest.fixture(scope="module")
def midi_folder(tmp_path_factory) -> pathlib.Path:
    """Ten tunes, one of them twice and one of them cut short, among files that are none."""
    folder = tmp_path_factory.mktemp("corpus") / "tunes"
    (folder / "b" / "ä").mkdir(parents=True)
    for n in range(NUM_GOOD - 2):
        places = (folder, folder / "b", folder / "b" / "ä")
        (places[n % 3] / f"tune_{n}.mid").write_bytes(tune_bytes(n))
    (folder / "b" / "copy.mid").write_bytes(tune_bytes(4))
    (folder / "broken.mid").write_bytes(b"MThd" + bytes(30))
    (folder / "empty.mid").write_bytes(b"")
    (folder / "cut.mid").write_bytes(tune_bytes(3)[:40])
    (folder / "notes.txt").write_text("not music")
    os.mkfifo(folder / "pipe.mid")
    return folder


@pytest.fixture(scope="module")
def written(midi_folder: pathlib.Path, tmp_path_factory) -> pathlib.Path:
    """Its shards, which no test may change."""
    folder = tmp_path_factory.mktemp("shards") / "tunes"
    write(midi_folder, folder)
    return folder


@pytest.fixture
def copied(written: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(written, tmp_path / "copied"))


def both(midi_folder: pathlib.Path, folder: pathlib.Path, **data: Any) -> tuple[Examples, Examples]:
    """The training examples in memory, and those of the shards."""
    setup = experiment.build_experiment(CONFIG)
    found = [
        setup.make_dataset(*corpus_view.find_split(DATA | data | where, CONFIG["representation"])).train
        for where in ({"path": str(midi_folder)}, {"shards": str(folder)})
    ]
    assert isinstance(found[0], ArrayExamples) and not isinstance(found[1], ArrayExamples)
    return found[0], found[1]


def feed(examples: Examples, steps: range, **arguments: int) -> list[Mapping[str, np.ndarray]]:
    resident = examples.resident()
    fed = []
    for batch in examples.batches(steps, **arguments):
        arrays = jax.device_get(take(resident, batch))._asdict()
        assert all(len(rows) == min(arguments["batch_size"], len(examples)) for rows in arrays.values())
        assert 0 < batch.size <= arguments["batch_size"]
        fed.append(arrays | {"size": batch.size})
    assert len(fed) == len(steps)
    return fed


def assert_same(some: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> None:
    assert list(some) == list(others)
    for name, rows in some.items():
        assert rows.dtype == others[name].dtype
        np.testing.assert_array_equal(rows, others[name])


@pytest.mark.parametrize(("seed", "batch_size"), [(0, 8), (5, 8), (5, 64), (5, 7), (1, 10_000)])
def test_the_batches_are_those_of_memory(midi_folder: pathlib.Path, written: pathlib.Path, seed: int, batch_size: int):
    in_memory, in_shards = both(midi_folder, written)
    assert len(in_memory) == len(in_shards) > 200
    epoch_steps = -(-len(in_shards) // batch_size)
    steps = range(max(0, epoch_steps - 5), epoch_steps + 3)  # The turn of an epoch, with its smaller last batch.
    for some, others in zip(
        feed(in_memory, steps, batch_size=batch_size, seed=seed),
        feed(in_shards, steps, batch_size=batch_size, seed=seed),
        strict=True,
    ):
        assert_same(some, others)


def test_a_resumed_feed_gives_the_rest(midi_folder: pathlib.Path, written: pathlib.Path):
    _, examples = both(midi_folder, written)
    whole = feed(examples, range(12), batch_size=40, seed=3)
    for start in (1, 5, 11):
        for some, others in zip(whole[start:], feed(examples, range(start, 12), batch_size=40, seed=3), strict=True):
            assert_same(some, others)


def test_a_feed_that_is_left_ends_its_threads(written: pathlib.Path, midi_folder: pathlib.Path):
    _, examples = both(midi_folder, written)
    before = threading.active_count()
    opened = examples.batches(range(10_000), batch_size=4, seed=0)
    next(opened)
    opened.close()
    until = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() <= before


@pytest.mark.parametrize("limit", [1, 5, 100, 10_000])
def test_samples_are_those_of_memory(midi_folder: pathlib.Path, written: pathlib.Path, limit: int):
    in_memory, in_shards = both(midi_folder, written)
    assert_same(in_memory.sample(limit)._asdict(), in_shards.sample(limit)._asdict())


@pytest.mark.parametrize(
    "data",
    [{}, {"split_seed": 9}, {"num_held_out": 0}, {"split_by": "file"}, {"num_folds": 4, "fold": 1}],
    ids=str,
)
def test_any_split_is_that_of_memory(midi_folder: pathlib.Path, written: pathlib.Path, data: dict[str, Any]):
    found = [
        corpus_view.find_split(DATA | data | where, CONFIG["representation"])
        for where in ({"path": str(midi_folder)}, {"shards": str(written)})
    ]
    in_memory, in_shards = (run_dir.describe_run(CONFIG, *one) for one in found)
    assert in_shards["split"] == in_memory["split"]
    assert in_shards["run_id"] == in_memory["run_id"]
    assert in_shards["corpus"] == in_memory["corpus"] | {"name": "tunes"}
    totals = [ingest_report.describe_corpus(source)["totals"] for source, _ in found]
    assert totals[1] == totals[0] | {"examples": totals[1]["examples"]}
    for n, piece in enumerate(found[1][0].pieces):
        other = next(one for one in found[0][0].pieces if one.path == piece.path)
        assert midi.write_midi(piece.score) == midi.write_midi(other.score)
        assert (n in found[1][1].held_out) == (piece.path in in_memory["split"]["held_out"])


def test_some_training_pieces_are_in_memory_and_all_that_are_held_out(written: pathlib.Path):
    source, split = corpus_view.find_split(
        DATA | {"shards": str(written), "num_evaluated_train": 3}, CONFIG["representation"]
    )
    assert len(split.train) == 3
    described = run_dir.describe_run(CONFIG, source, split)
    assert described["corpus"]["pieces"] == NUM_GOOD == source.num_pieces
    assert len(described["split"]["train"]) + len(described["split"]["held_out"]) == NUM_GOOD
    assert {source.pieces[n].path for n in split.held_out} == set(described["split"]["held_out"])


def test_a_huge_corpus_is_not_written_into_every_run(written: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_dir, "_MAX_NAMED", 5)
    source, split = corpus_view.find_split(DATA | {"shards": str(written)}, CONFIG["representation"])
    described = run_dir.describe_run(CONFIG, source, split)["split"]
    assert described["train"] == [] and described["num_train"] + len(described["held_out"]) == NUM_GOOD


def test_every_file_is_accounted_for(midi_folder: pathlib.Path, written: pathlib.Path):
    report = json.loads((written / "shards.json").read_text())
    in_memory = ingest_report.describe_corpus(corpus.load_corpus(str(midi_folder)))
    for name in ("path", "status", "reasons", "notes"):
        assert [file[name] for file in report["files"]] == [file[name] for file in in_memory["files"]]
    assert report["totals"]["refused"] == 3 and report["totals"]["repaired"] == 1
    assert report["fingerprint"] == in_memory["fingerprint"]


def test_two_processes_write_what_one_writes(midi_folder: pathlib.Path, written: pathlib.Path, tmp_path: pathlib.Path):
    write(midi_folder, tmp_path / "two", workers=2)
    assert contents(tmp_path / "two") == contents(written)


def test_a_zip_gives_the_records_of_the_folder(
    midi_folder: pathlib.Path, written: pathlib.Path, tmp_path: pathlib.Path
):
    names = [path for path in midi_folder.rglob("*") if path.is_file()]
    members = {path.relative_to(midi_folder).as_posix(): path.read_bytes() for path in names}
    write(write_zip(tmp_path / "tunes.zip", members), tmp_path / "zipped")
    one, other = (reader.open_shards(str(folder)) for folder in (written, tmp_path / "zipped"))
    assert one.manifest["fingerprint"] == other.manifest["fingerprint"] and one.rows == other.rows
    one_piece, other_piece = (shards.pieces.read(range(NUM_GOOD)) for shards in (one, other))
    assert one_piece == other_piece


KILLED = """
import os, pathlib, signal, sys
from vae_jax.music import serialization
from test_shards import write
pack, calls = serialization.pack_score, []
def pack_or_die(score):
    calls.append(score)
    if len(calls) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return pack(score)
serialization.pack_score = pack_or_die
write(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
"""


@pytest.mark.parametrize("at", [6, pytest.param(NUM_GOOD, marks=pytest.mark.slow)])
def test_a_killed_ingest_resumes(
    midi_folder: pathlib.Path,
    written: pathlib.Path,
    tmp_path: pathlib.Path,
    at: int,
    capsys: pytest.CaptureFixture[str],
):
    folder = tmp_path / "killed"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, midi_folder, folder, str(at)],
        env=os.environ | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}:{REPOSITORY / 'tests' / 'data'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    assert any(path.name.endswith(".tmp") for path in folder.iterdir())
    with pytest.raises(UserError, match=r"not finished; resume with python -m vae_jax\.ingest"):
        reader.open_shards(str(folder))
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("chunk-*.json")}
    assert kept
    # To resume, the command needs no more than the folder.
    writer.write_shards(folder, None, num_workers=1, chunk_files=CHUNK_FILES)
    assert contents(folder) == contents(written)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert "files are written already" in capsys.readouterr().out


def test_finished_shards_are_left_alone(midi_folder: pathlib.Path, copied: pathlib.Path):
    before = {path: path.stat().st_mtime_ns for path in copied.iterdir() if "record" in path.name}
    write(midi_folder, copied)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_changed_corpus_renews_what_changed(midi_folder: pathlib.Path, copied: pathlib.Path, tmp_path: pathlib.Path):
    changed = tmp_path / "tunes"
    for path in sorted(midi_folder.rglob("*.mid")):
        if path.is_file() and path.name != "tune_0.mid":
            (changed / path.relative_to(midi_folder)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, changed / path.relative_to(midi_folder))
    (changed / "tune_9.mid").write_bytes(tune_bytes(42))
    before = {path: path.stat().st_mtime_ns for path in copied.glob("examples-*")}
    write(changed, copied)
    after = {path: path.stat().st_mtime_ns for path in copied.glob("examples-*")}
    assert 0 < sum(before[path] == after.get(path) for path in before) < len(before)
    write(changed, tmp_path / "fresh")
    assert contents(copied) == contents(tmp_path / "fresh")
    fingerprint = corpus.load_corpus(str(changed)).fingerprint
    assert reader.open_shards(str(copied)).manifest["fingerprint"] == fingerprint


def test_a_smaller_corpus_leaves_no_chunk_behind(midi_folder: pathlib.Path, copied: pathlib.Path):
    write(midi_folder / "b", copied)
    assert len(list(copied.glob("examples-*"))) == len(list(copied.glob("chunk-*"))) == 2
    reader.open_shards(str(copied))


def test_a_damaged_record_ends_in_one_line(midi_folder: pathlib.Path, copied: pathlib.Path):
    path = copied / "examples-00001.array_record"
    data = bytearray(path.read_bytes())
    data[2000] ^= 4
    path.write_bytes(data)
    _, examples = both(midi_folder, copied)
    with pytest.raises(UserError, match=r"examples-00001\.array_record: a damaged shard \(.*hash mismatch") as caught:
        feed(examples, range(40), batch_size=16, seed=0)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"examples-00001\.array_record: a damaged shard"):
        reader.open_shards(str(copied), by_hash=True)


@pytest.mark.parametrize("kind", ["examples", "pieces", "manifest"])
@pytest.mark.parametrize("damage", ["missing", "cut", "emptied", "flipped"])
def test_a_shard_that_is_not_whole_is_named_at_once(copied: pathlib.Path, kind: str, damage: str):
    path = copied / format.MANIFEST if kind == "manifest" else format.chunk_path(copied, 1, kind)
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        path.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
    else:
        path.write_bytes(data[: len(data) // 2 if damage == "cut" else 0])
    expected = rf"{path.name}: a damaged shard .* python -m vae_jax\.ingest --shards="
    if kind == "manifest":
        expected = r"resume with python -m" if damage == "missing" else rf"{path.name}: .*damaged"
    with pytest.raises(UserError, match=expected):
        reader.open_shards(str(copied), by_hash=damage == "flipped")


def test_a_damaged_shard_is_written_again(midi_folder: pathlib.Path, copied: pathlib.Path, written: pathlib.Path):
    (copied / "examples-00001.array_record").write_bytes(b"")
    (copied / "chunk-00000.json").write_bytes((copied / "chunk-00000.json").read_bytes().replace(b"0", b"1", 1))
    (copied / "pieces-00002.array_record").unlink()
    write(midi_folder, copied)
    assert contents(copied) == contents(written)


def test_a_wrong_number_of_records_is_noticed(copied: pathlib.Path):
    path = copied / "examples-00000.array_record"
    count = reader.open_shards(str(copied)).manifest["chunks"][0]["examples"]["records"]
    assert len(reader.Records([path], [count]).read([0, count - 1])) == 2
    with pytest.raises(UserError, match="records instead of"):
        reader.Records([path], [count + 1]).read([0])


def test_another_representation_is_refused_by_its_fields(midi_folder: pathlib.Path, copied: pathlib.Path):
    with pytest.raises(UserError, match=r"config\.representation\.max_notes is 24 there and 30 here"):
        write(midi_folder, copied, max_notes=30)
    other = CONFIG["representation"] | {"training_hop_beats": 8}
    with pytest.raises(UserError, match=r"config\.representation\.training_hop_beats is 1 there and 8 here"):
        corpus_view.find_split(DATA | {"shards": str(copied)}, other)
    config = CONFIG["representation"]
    without_default = {name: value for name, value in config.items() if name != "steps_per_beat"}
    assert config["steps_per_beat"] == 12  # As it is if the config does not say.
    corpus_view.find_split(DATA | {"shards": str(copied)}, without_default)


def test_other_folders_are_refused(midi_folder: pathlib.Path, written: pathlib.Path, tmp_path: pathlib.Path):
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty and not a folder of shards"):
        write(midi_folder, tmp_path)
    with pytest.raises(UserError, match="a file, not a folder"):
        write(midi_folder, tmp_path / "diary.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]
    with pytest.raises(UserError, match=r"no shards here .*; write them with python -m vae_jax\.ingest"):
        corpus_view.find_split(DATA | {"shards": str(tmp_path)}, CONFIG["representation"])
    with pytest.raises(UserError, match="--config is missing"):
        writer.write_shards(tmp_path / "new", None, str(midi_folder), num_workers=1)
    with pytest.raises(UserError, match="give their folder by --path"):
        corpus_view.find_split(DATA | {"shards": str(written)}, CONFIG["representation"], str(midi_folder))
    source, _ = corpus_view.find_split(DATA, CONFIG["representation"], str(written))
    assert source.num_pieces == NUM_GOOD


def test_a_corpus_of_nothing_usable_is_refused(tmp_path: pathlib.Path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.mid").write_bytes(b"no music")
    with pytest.raises(UserError, match=r"no usable music file \(a\.mid: "):
        write(tmp_path / "bad", tmp_path / "shards")
    assert not reader.is_shards(str(tmp_path / "shards"))


def test_a_file_that_cannot_be_encoded_ends_nothing(
    midi_folder: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    make = writer.make_representation

    def made(config):
        representation = make(config)

        @dataclasses.dataclass(frozen=True)
        class Choosy:
            def encode_training(self, score):
                if midi.write_midi(score) == midi.write_midi(tune(5)):
                    raise ValueError("no grid")
                return representation.encode_training(score)

        return Choosy()

    monkeypatch.setattr(format, "describe_representation", lambda config: dict(config))
    monkeypatch.setattr(writer, "make_representation", made)
    totals = write(midi_folder, tmp_path / "shards")["totals"]
    assert totals["loaded"] == NUM_GOOD - 1
    report = json.loads((tmp_path / "shards" / "shards.json").read_text())
    assert ["cannot be encoded (ValueError: no grid)"] in [file["reasons"] for file in report["files"]]


def test_a_full_disk_ends_in_one_line(midi_folder: pathlib.Path, tmp_path: pathlib.Path):
    code = (
        "import pathlib, resource, sys\n"
        "from vae_jax.runtime.errors import UserError\n"
        "from test_shards import write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try:\n    write(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
        "except UserError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, midi_folder, tmp_path / "full"],
        env=os.environ | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}:{REPOSITORY / 'tests' / 'data'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "array_record: cannot be written" in done.stdout and done.stdout.count("\n") == 1
    assert [path.name for path in (tmp_path / "full").iterdir() if "record" in path.name] == []


def test_the_generated_corpus_is_listed_as_it_is_loaded():
    listed = sources.list_synthetic(3, 5)
    read = list(sources.read_files(listed))
    loaded = corpus.synthetic_corpus(3, 5)
    assert [path for path, _ in read] == [file.path for file in loaded.files]
    assert [midi.read_midi(data).score.notes.pitch.tolist() for _, data in read if isinstance(data, bytes)] == [
        piece.score.notes.pitch.tolist() for piece in loaded.pieces
    ]


def test_training_from_shards_is_the_same_run(tiny_run: TinyRun, midi_folder: pathlib.Path, tmp_path: pathlib.Path):
    shards = tmp_path / "written"
    writer.write_shards(shards, TINY | {"data": DATA}, str(midi_folder), num_workers=1, chunk_files=3)
    for name, where in (("memory", {"path": str(midi_folder)}), ("shards", {"shards": str(shards)})):
        dataset = tiny_run.experiment.make_dataset(*corpus_view.find_split(DATA | where, TINY["representation"]))
        (tmp_path / name).mkdir()
        with (
            mock.patch.object(step, "make_train_step", return_value=tiny_run.fresh_step()),
            mock.patch.object(step, "make_eval_step", return_value=tiny_run.eval_step),
        ):
            for num_epochs in (2, 4):  # The second resumes from a checkpoint.
                config = TrainConfig(**TINY["train"] | {"num_epochs": num_epochs})
                key = tiny_run.experiment.key()
                loop.fit(tiny_run.trainable, dataset, config, RunFolder(tmp_path / name), key=key, order_seed=3)
    assert lines(tmp_path / "shards") == lines(tmp_path / "memory")
    assert len(lines(tmp_path / "shards")) == 4


@pytest.mark.slow
def test_a_run_from_shards_leaves_what_one_in_memory_leaves(small_run: pathlib.Path, tmp_path: pathlib.Path):
    made = run("-m", "vae_jax.ingest", *SMALL, f"--shards={tmp_path / 'shards'}", "--workers=2")
    assert made.returncode == 0, made.stderr
    done = run("run.py", *SMALL, f"--config.data.shards={tmp_path / 'shards'}", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    for name in ("metrics.jsonl", "metrics.json", "calibration.json", "composer/metrics.jsonl"):
        assert (tmp_path / "run" / name).read_text() == (small_run / name).read_text(), name
    here, there = (files.read_json(folder / "run.json") for folder in (tmp_path / "run", small_run))
    assert here["run_id"] == there["run_id"] and here["split"] == there["split"]
    for command in (["-m", "vae_jax.evaluate", "--num=2"], ["-m", "vae_jax.report"]):
        done = run(*command, f"--workdir={tmp_path / 'run'}")
        assert done.returncode == 0, done.stderr
