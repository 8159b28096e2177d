"""Writing shards: chunks of files turned into records by several processes, each once, whatever interrupts them."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import json
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from vae_jax.data import corpus, deduplication, parsing, sources
from vae_jax.data.shards import format
from vae_jax.data.shards.format import RecordLayout
from vae_jax.data.sources import Listed, Source
from vae_jax.music import serialization
from vae_jax.representations.base import AnyRepresentation
from vae_jax.representations.factory import make_representation
from vae_jax.runtime import files, lock
from vae_jax.runtime.errors import UserError

CHUNK_FILES = 512  # Their number stays below that of the files that a process may open, for 200,000 files too.


@dataclasses.dataclass(frozen=True)
class ChunkTask:
    """What a worker needs to write a chunk.

    Attributes:
      folder: of the shards.
      number: of the chunk.
      source: where its files are read from.
      files: its files.
      representation: the config's `representation` section.
    """

    folder: pathlib.Path
    number: int
    source: Source
    files: tuple[Listed, ...]
    representation: Mapping[str, Any]

    @property
    def identity(self) -> str:
        """Hash of all that decides what is in the chunk."""
        listed = [[file.path, file.size, file.stamp, file.refusal] for file in self.files]
        known = [format.encoder_version(), describe_representation(self.representation), listed]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def path(self, kind: str) -> pathlib.Path:
        """The path of one of the chunk's files."""
        return self.folder / format.chunk_names(self.number)[kind]


def describe_representation(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config's `representation` section with the fields that it leaves to their defaults."""
    made: Any = make_representation(config)
    fields = {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}
    return json.loads(json.dumps({"name": config["name"]} | fields))


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be written: the corpus and the config's `representation` section."""

    source: Source
    representation: Mapping[str, Any]


def make_plan(folder: pathlib.Path, config: Mapping[str, Any] | None, path: str = "") -> Plan:
    """Plans shards of a config, or of what the folder's own plan says where none is given.

    Args:
      folder: of the shards.
      config: a run's config.
      path: of the corpus, in place of the config's.

    Raises:
      UserError: where there is neither a config nor a plan, or no such corpus.
    """
    if config is None:
        if not (folder / format.PLAN).is_file():
            raise UserError(f"--config is missing: {folder} holds no shards yet, so it has to say how they are made")
        known = files.read_json(folder / format.PLAN)
        try:
            return Plan(sources.list_again(known["source"], path), known["representation"])
        except (KeyError, TypeError) as error:
            raise UserError(f"{folder / format.PLAN}: damaged ({error}); give --config and --path again") from error
    data = config["data"]
    path = path or data["path"]
    if path == sources.SYNTHETIC_NAME:
        source = sources.list_synthetic(data["num_synthetic"], data["synthetic_seed"])
    else:
        source = sources.list_source(path or corpus.fetch_anthems(data["url"]))
    return Plan(source, describe_representation(config["representation"]))


def write_shards(
    plan: Plan, folder: pathlib.Path, *, num_workers: int, chunk_files: int = CHUNK_FILES
) -> dict[str, Any]:
    """Writes a corpus as shards, or what is missing of them.

    Args:
      plan: the corpus and its representation.
      folder: where to; made where there is none.
      num_workers: processes to write with; one writes in this process.
      chunk_files: files of a chunk.

    Returns:
      The manifest.

    Raises:
      UserError: where the folder holds something else, another representation among it, where nothing can be read, or
        where something cannot be written; what is written stays, and the same call goes on.
    """
    source = plan.source
    bare = dataclasses.replace(source, files=())
    tasks = [
        ChunkTask(folder, number, bare, source.files[start : start + chunk_files], plan.representation)
        for number, start in enumerate(range(0, len(source.files), chunk_files))
    ]
    _open_folder(folder, plan)
    missing = [task for task in tasks if not _is_written(task)]
    manifest = folder / format.MANIFEST
    if not missing and manifest.exists():
        finished = files.read_json(manifest)
        if len(finished["chunks"]) == len(tasks):
            return finished
    manifest.unlink(missing_ok=True)  # Whoever trains from here may not take half of the new for the whole.
    done = sum(len(task.files) for task in tasks) - sum(len(task.files) for task in missing)
    if done:
        print(f"{folder}: {done:,} of {len(source.files):,} files are written already")
    for number in _write_chunks(missing, num_workers):
        done += len(tasks[number].files)
        print(f"{done:,} of {len(source.files):,} files", flush=True)
    return _finish(source, folder, tasks)


def write_chunk(task: ChunkTask) -> int:
    """Writes the files of one chunk and returns its number."""
    task.path("chunk").unlink(missing_ok=True)
    representation = make_representation(task.representation)
    shape: RecordLayout | None = None
    rows: list[dict[str, Any]] = []
    shingles = [np.zeros(0, dtype="<u8")]
    with (
        format.record_writer(task.path("examples")) as write_example,
        format.record_writer(task.path("pieces")) as write_piece,
    ):
        for listed, data in sources.read_listed(task.source, task.files):
            row, arrays, score = _judge(listed.path, data, representation)
            if score is not None and arrays is not None:
                shape = shape or RecordLayout.of(arrays)
                for record in shape.pack(arrays):
                    write_example(record)
                write_piece(serialization.pack_score(score))
                shingles.append(deduplication.pack_shingles(score).astype("<u8"))
                row |= {"shingles": len(shingles[-1])}
            rows.append(row)
    with files.replacing(task.path("tunes")) as temporary, temporary.open("wb") as file:
        np.save(file, np.concatenate(shingles), allow_pickle=False)
    format.write_json(
        task.path("chunk"),
        {
            "identity": task.identity,
            "layout": shape.pack_json() if shape else None,
            "written": {kind: format.describe_file(task.path(kind)) for kind in ("examples", "pieces", "tunes")},
            "files": rows,
        },
    )
    return task.number


def _judge(path: str, data: bytes | str, representation: AnyRepresentation) -> tuple[dict[str, Any], Any, Any]:
    """Reads and encodes a file; returns what the chunk keeps of it, its examples and its score."""
    row: dict[str, Any] = {"path": path, "sha256": "", "status": "refused", "notes": 0, "examples": 0}
    if isinstance(data, str):
        return row | {"reasons": [data]}, None, None
    row["sha256"] = hashlib.sha256(data).hexdigest()
    verdict = parsing.judge(data)
    row["reasons"] = list(verdict.reasons)
    if verdict.score is None:
        return row, None, None
    try:
        arrays = representation.encode_training(verdict.score)._asdict()
    except (ArithmeticError, LookupError, ValueError, MemoryError) as error:  # One file of thousands ends no ingest.
        reason = f"cannot be encoded ({type(error).__name__}: {error})"
        return row | {"reasons": [*verdict.reasons, reason]}, None, None
    counts = {"notes": len(verdict.score.notes), "examples": len(next(iter(arrays.values())))}
    return row | counts | {"status": "repaired" if verdict.reasons else "loaded"}, arrays, verdict.score


def _open_folder(folder: pathlib.Path, plan: Plan) -> None:
    """Makes or takes the folder, locks it and refuses one of other content."""
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: a file, not a folder; give another --shards")
        there = [path.name for path in folder.iterdir()] if folder.exists() else []
        if format.PLAN not in there and any(not name.startswith(".") for name in there):
            raise UserError(f"{folder}: not empty and not a folder of shards; give another --shards")
        lock.hold(folder)
        files.remove_leftovers(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be used as a folder of shards ({error.strerror or error})") from error
    if (folder / format.PLAN).exists():
        refuse_other_representation(folder, files.read_json(folder / format.PLAN), plan.representation)
    known = {"source": plan.source.describe(), "representation": plan.representation}
    format.write_json(folder / format.PLAN, {"format": format.FORMAT} | known)


def refuse_other_representation(folder: pathlib.Path, known: Any, representation: Mapping[str, Any]) -> None:
    """Compares a config with what a plan or manifest says.

    Raises:
      UserError: which names the fields that differ.
    """
    if not isinstance(known, dict) or known.get("format") != format.FORMAT:
        raise UserError(f"{folder}: shards of another version of this program; write them again in another folder")
    there, here = known["representation"], describe_representation(representation)
    differing = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
    if differing:
        shown = "; ".join(
            f"config.representation.{name} is {there.get(name)!r} there and {here.get(name)!r} here"
            for name in differing
        )
        raise UserError(f"{folder} holds shards of another representation ({shown}); write them anew or change it")


def _is_written(task: ChunkTask) -> bool:
    """Whether a chunk is whole and of the same files, config and encoder."""
    try:
        chunk = files.read_json(task.path("chunk"))
        return chunk["identity"] == task.identity and all(
            task.path(kind).stat().st_size == chunk["written"][kind]["bytes"]
            for kind in ("examples", "pieces", "tunes")
        )
    except (UserError, OSError, KeyError, TypeError):
        return False


def _write_chunks(tasks: Sequence[ChunkTask], num_workers: int) -> Iterator[int]:
    """Writes chunks and gives the number of each as it is done."""
    if num_workers == 1 or len(tasks) < 2:
        yield from map(write_chunk, tasks)
        return
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # Of the workers: no accelerator is taken by those who only count.
    context = multiprocessing.get_context("spawn")  # JAX's threads forbid a fork.
    executor = concurrent.futures.ProcessPoolExecutor(min(num_workers, len(tasks)), context, _start_worker)
    try:
        futures = [executor.submit(write_chunk, task) for task in tasks]
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "a process that wrote shards was ended from outside (too little memory?); the same command goes on, "
            "with fewer --workers if need be"
        ) from error
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Ctrl-C is for the parent to decide on; and who has lost the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _finish(source: Source, folder: pathlib.Path, tasks: Sequence[ChunkTask]) -> dict[str, Any]:
    """Groups the tunes, writes the report and the manifest, and deletes the chunks of a longer corpus before."""
    chunks, described, loaded, shingles = [], [], [], []
    shape, statuses, notes = None, collections.Counter[str](), 0
    for task in tasks:
        chunk = files.read_json(task.path("chunk"))
        shape = shape or chunk["layout"]
        if chunk["layout"] not in (None, shape):
            raise format.damaged(task.path("chunk"), "its records have another layout than those before")
        mine = [row for row in chunk["files"] if row["status"] != "refused"]
        ends = np.cumsum([0] + [row["shingles"] for row in mine])
        packed = read_tunes(task.path("tunes"), int(ends[-1]))
        shingles += [packed[start:end] for start, end in itertools.pairwise(ends)]
        loaded += [(row["path"], row["sha256"]) for row in mine]
        described += [{name: row[name] for name in ("path", "status", "reasons", "notes")} for row in chunk["files"]]
        statuses.update(row["status"] for row in chunk["files"])
        notes += sum(row["notes"] for row in mine)
        chunks.append(
            {
                "files": len(chunk["files"]),
                "pieces": len(mine),
                "examples": sum(row["examples"] for row in mine),
                "written": chunk["written"] | {"chunk": format.describe_file(task.path("chunk"))},
            }
        )
    if not loaded:
        first = described[0]
        raise UserError(
            f"{source.path or source.name}: no usable MIDI file among {len(described)} "
            f"({first['path']}: {first['reasons'][0]})"
        )
    groups = np.array(deduplication.group_shingles(shingles, [digest for _, digest in loaded]), dtype="<i4")
    with files.replacing(folder / format.GROUPS) as temporary, temporary.open("wb") as file:
        np.save(file, groups, allow_pickle=False)
    totals = {
        "files": len(described),
        "loaded": len(loaded),
        "repaired": statuses["repaired"],
        "refused": statuses["refused"],
        "notes": notes,
        "tunes": len(np.unique(groups)),
        "examples": sum(chunk["examples"] for chunk in chunks),
    }
    fingerprint = corpus.fingerprint(loaded)
    format.write_json(
        folder / format.REPORT,
        {"corpus": source.name, "fingerprint": fingerprint, "totals": totals, "files": described},
    )
    _remove_others(folder, len(tasks))
    manifest = {
        "format": format.FORMAT,
        "corpus": source.name,
        "fingerprint": fingerprint,
        "encoder": format.encoder_version(),
        "representation": describe_representation(tasks[0].representation),
        "layout": shape,
        "totals": totals,
        "groups": format.describe_file(folder / format.GROUPS),
        "chunks": chunks,
    }
    format.write_json(folder / format.MANIFEST, manifest)
    return manifest


def read_tunes(path: pathlib.Path, count: int) -> np.ndarray:
    """Reads a file of so many shingles.

    Raises:
      UserError: where it is damaged.
    """
    try:
        packed = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise format.damaged(path, error) from error
    if packed.shape != (count,) or packed.dtype != np.dtype("<u8"):
        raise format.damaged(path, f"{packed.shape} {packed.dtype} instead of {count} shingles")
    return packed


def _remove_others(folder: pathlib.Path, num_chunks: int) -> None:
    """Deletes chunks past the last, which a corpus of more files has left."""
    for path in folder.glob("chunk-?????.json"):
        number = path.stem.removeprefix("chunk-")
        if number.isdigit() and int(number) >= num_chunks:
            for name in format.chunk_names(int(number)).values():
                with contextlib.suppress(OSError):
                    (folder / name).unlink()
