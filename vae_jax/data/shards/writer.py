"""Writing shards: several processes turn chunks of files into records; an interrupted ingest resumes after the last
complete chunk."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.data import corpus, parallel, parsing, sources
from vae_jax.data.parsing import FileRow, ParsedFile
from vae_jax.data.shards import format
from vae_jax.data.shards.reader import Records
from vae_jax.data.sources import Source
from vae_jax.representations.base import Arrays, Representation
from vae_jax.representations.factory import make_representation
from vae_jax.runtime import files, lock
from vae_jax.runtime.errors import UserError

CHUNK_FILES = 512  # 200,000 files make fewer chunks than a process may open files.


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be written: a corpus and the config's `representation` section, defaults included."""

    source: Source
    representation: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Chunk:
    """What a worker needs to write a chunk: the folder of the shards, the chunk's number, its files."""

    folder: pathlib.Path
    number: int
    source: Source
    representation: Mapping[str, Any]

    @property
    def identity(self) -> str:
        """Hash of everything that determines the chunk's content."""
        listed = [[file.path, file.size, file.stamp, file.refusal] for file in self.source.files]
        version = format.encoder_version()
        return format.hash_json({"version": version, "representation": self.representation, "files": listed})

    def path(self, kind: str) -> pathlib.Path:
        """The path of one of the chunk's files."""
        return format.chunk_path(self.folder, self.number, kind)


def make_plan(folder: pathlib.Path, config: Mapping[str, Any] | None, path: str = "") -> Plan:
    """Plans shards of a config; without one, those of the folder's own plan.

    Args:
      folder: of the shards.
      config: a run's config.
      path: of the corpus, in place of the config's.

    Raises:
      UserError: if there is neither a config nor a plan, or no such corpus.
    """
    if config is None and not (folder / format.PLAN).is_file():
        raise UserError(f"--config is missing: {folder} holds no shards yet, so it has to say how they are made")
    known = format.read_json(folder / format.PLAN) if config is None else config
    source = corpus.find_source(known["data"], path, allow_builtin=False)
    return Plan(source, format.describe_representation(known["representation"]))


def write_shards(
    plan: Plan, folder: pathlib.Path, *, num_workers: int, chunk_files: int = CHUNK_FILES
) -> dict[str, Any]:
    """Writes a corpus as shards, or what is missing of them, and returns the manifest.

    Args:
      plan: the corpus and its representation.
      folder: where to; created if there is none.
      num_workers: number of processes.
      chunk_files: files of a chunk.

    Raises:
      UserError: if the folder holds something else or another representation, if no file is usable, or if a file cannot
        be written. The complete chunks stay, and the same call resumes.
    """
    _open_folder(folder, plan)
    chunks = [
        Chunk(folder, number, source, plan.representation)
        for number, source in enumerate(plan.source.split(chunk_files))
    ]
    missing = [chunk for chunk in chunks if not _is_written(chunk)]
    (folder / format.MANIFEST).unlink(missing_ok=True)  # Nobody may train on a half-written folder.
    num_files = len(plan.source.files)
    done = num_files - sum(len(chunk.source.files) for chunk in missing)
    if done:
        print(f"{folder}: {done:,} of {num_files:,} files are written already")
    with contextlib.closing(parallel.map_ordered(write_chunk, missing, num_workers)) as written:
        for num_written in written:
            done += num_written
            print(f"{done:,} of {num_files:,} files", flush=True)
    return _finish(plan, folder, chunks)


def write_chunk(chunk: Chunk) -> int:
    """Writes one chunk and returns the number of its files."""
    chunk.path("chunk").unlink(missing_ok=True)
    representation = make_representation(chunk.representation)
    layout: np.dtype | None = None
    rows: list[FileRow] = []
    with (
        format.record_writer(chunk.path("examples")) as write_example,
        format.record_writer(chunk.path("pieces")) as write_piece,
    ):
        for path, data in sources.read_files(chunk.source):
            parallel.raise_if_closing()
            file, arrays = parse_and_encode(path, data, representation)
            records = []
            if file.score is not None:
                layout = layout or format.layout_of(arrays)
                records = format.pack_examples(arrays, layout)
                write_piece(format.pack_piece(file.score))
            for record in records:
                write_example(record)
            rows.append(FileRow(path, file.sha256, file.status, list(file.reasons), file.notes, len(records)))
    counts = {"examples": sum(row.examples for row in rows), "pieces": sum(row.status != "refused" for row in rows)}
    content = {
        "identity": chunk.identity,
        "layout": layout.descr if layout else None,
        "written": {kind: format.describe_file(chunk.path(kind)) | {"records": counts[kind]} for kind in format.KINDS},
        "files": [dataclasses.asdict(row) for row in rows],
    }
    format.write_json(chunk.path("chunk"), content)
    return len(rows)


def parse_and_encode(path: str, data: bytes | str, representation: Representation) -> tuple[ParsedFile, Arrays]:
    """Parses the bytes of a file (see `parse`) and encodes it for training; a refused file has no arrays."""
    file = parsing.parse(path, data)
    if file.score is None:
        return file, {}
    try:
        return file, representation.encode_training(file.score)
    except (ArithmeticError, LookupError, ValueError, MemoryError) as error:  # One file of thousands ends no ingest.
        reason = f"cannot be encoded ({type(error).__name__}: {error})"
        return dataclasses.replace(file, score=None, reasons=(*file.reasons, reason)), {}


def _open_folder(folder: pathlib.Path, plan: Plan) -> None:
    """Creates the folder or refuses one of other content, locks it and writes the plan."""
    path = folder / format.PLAN
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: a file, not a folder; give another --shards")
        names = [entry.name for entry in folder.iterdir()] if folder.exists() else []
        if path.name not in names and any(not name.startswith(".") for name in names):
            raise UserError(f"{folder}: not empty and not a folder of shards; give another --shards")
        lock.hold(folder)
        files.remove_leftovers(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be used as a folder of shards ({error.strerror or error})") from error
    if path.exists():
        format.check_representation(folder, format.read_json(path)["representation"], plan.representation)
    format.write_json(path, {"data": plan.source.describe(), "representation": plan.representation})


def _is_written(chunk: Chunk) -> bool:
    """Whether a chunk is complete and of the same files, config and encoder."""
    try:
        content = format.read_json(chunk.path("chunk"))
        for kind in format.KINDS:
            format.check_file(chunk.path(kind), content["written"][kind], by_hash=False)
        return content["identity"] == chunk.identity
    except UserError:
        return False


def _finish(plan: Plan, folder: pathlib.Path, chunks: Sequence[Chunk]) -> dict[str, Any]:
    """Groups the tunes, deletes chunks of a larger corpus before, and writes the manifest."""
    contents = [format.read_json(chunk.path("chunk")) for chunk in chunks]
    rows = [FileRow(**row) for content in contents for row in content["files"]]
    layouts = [content["layout"] for content in contents if content["layout"]]
    if not layouts:
        raise corpus.no_usable_file(plan.source, rows[0])
    if any(layout != layouts[0] for layout in layouts):
        raise UserError(f"{folder}: the files give examples of different shapes; use another representation")
    num_pieces = [content["written"]["pieces"]["records"] for content in contents]
    pieces = Records([chunk.path("pieces") for chunk in chunks], num_pieces)
    shingles = [format.unpack_shingles(pieces.read([n])[0]).copy() for n in range(sum(num_pieces))]
    groups, fingerprint, totals = corpus.summarize(rows, shingles)
    tunes = iter(groups)
    rows = [row if row.status == "refused" else dataclasses.replace(row, tune=next(tunes)) for row in rows]
    for path in folder.iterdir():
        match = re.fullmatch(r"(?:chunk|examples|pieces)-(\d{5})\.\w+", path.name)
        if match and int(match[1]) >= len(chunks):
            path.unlink()
    manifest = {
        "corpus": plan.source.name,
        "fingerprint": fingerprint,
        "totals": totals | {"examples": sum(row.examples for row in rows)},
        "encoder": format.encoder_version(),
        "representation": plan.representation,
        "layout": layouts[0],
        "chunks": [content["written"] for content in contents],
        "files": [dataclasses.asdict(row) for row in rows],
    }
    format.write_json(folder / format.MANIFEST, manifest)
    return manifest
