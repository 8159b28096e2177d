"""Writing shards: several processes turn chunks of files into records; an interrupted ingest resumes after the last
complete chunk."""

import contextlib
import dataclasses
import functools
import pathlib
import re

import numpy as np

from vae_jax.data import corpus, deduplication, parallel, parsing, sources
from vae_jax.data.config import DataConfig
from vae_jax.data.parsing import FileRow, ParsedFile
from vae_jax.data.shards import format
from vae_jax.data.shards.format import Arrays
from vae_jax.data.shards.reader import Records
from vae_jax.data.sources import Source
from vae_jax.music import serialization
from vae_jax.representations.base import AnyRepresentation
from vae_jax.representations.factory import make_representation
from vae_jax.runtime import config, files, lock
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import Json
from vae_jax.runtime.text import quantity

CHUNK_FILES = 512  # 200,000 files make fewer chunks than a process may open files.


def write_shards(
    folder: pathlib.Path, raw: Json | None, path: str = "", *, num_workers: int, chunk_files: int = CHUNK_FILES
) -> Json:
    """Writes a corpus as shards, or what is missing of them, and returns the manifest.

    Args:
      folder: where to; created if there is none.
      raw: a run's config; None for the corpus and the representation with which the folder was begun.
      path: of the corpus, in place of the config's.
      num_workers: number of processes.
      chunk_files: files of a chunk.

    Raises:
      UserError: if there is no corpus or no usable file, if the folder holds something else or another representation,
        or if a file cannot be written. The complete chunks stay, and the same call resumes.
    """
    if raw is None and not (folder / format.PLAN).is_file():
        raise UserError(f"--config is missing: {folder} holds no shards yet, so it has to say how they are made")
    raw = format.read_json(folder / format.PLAN) if raw is None else raw
    data = config.make_section(DataConfig, raw["data"], "config.data")
    source = corpus.find_source(data, path, allow_chorales=False, flag="--path")
    representation = format.describe_representation(raw["representation"])
    _open_folder(folder, source, representation)
    chunks = list(enumerate(source.split(chunk_files)))
    missing = [chunk for chunk in chunks if not _is_written(folder, representation, chunk)]
    (folder / format.MANIFEST).unlink(missing_ok=True)  # Nobody may train on a half-written folder.
    done = len(source.files) - sum(len(part.files) for _, part in missing)
    if done:
        print(f"{folder}: {done:,} of {quantity(len(source.files), 'file')} are written already")
    write = functools.partial(write_chunk, folder, representation)
    with contextlib.closing(parallel.map_ordered(write, missing, num_workers)) as written:
        for num_written in written:
            done += num_written
            print(f"{done:,} of {quantity(len(source.files), 'file')}", flush=True)
    return _finish(folder, source, representation, len(chunks))


def write_chunk(folder: pathlib.Path, config: Json, chunk: tuple[int, Source]) -> int:
    """Writes one chunk, its number and its files, with a config's `representation` section; returns how many files it
    had."""
    number, source = chunk
    paths = {kind: format.chunk_path(folder, number, kind) for kind in (*format.KINDS, "chunk")}
    paths["chunk"].unlink(missing_ok=True)
    representation = make_representation(config)
    layout: np.dtype | None = None
    rows: list[FileRow] = []
    with (
        format.record_writer(paths["examples"]) as write_example,
        format.record_writer(paths["pieces"]) as write_piece,
        format.record_writer(paths["tunes"]) as write_tune,
    ):
        for path, data in sources.read_files(source):
            parallel.raise_if_closing()
            file, arrays = parse_and_encode(path, data, representation)
            records = []
            if file.score is not None:
                layout = layout or format.layout_of(arrays)
                records = format.pack_examples(arrays, layout)
                write_piece(serialization.pack_score(file.score))
                write_tune(deduplication.pack_shingles(file.score).astype("<u8").tobytes())
            for record in records:
                write_example(record)
            row = FileRow(path, file.sha256, file.status, list(file.reasons), file.notes, len(records))
            rows.append(dataclasses.replace(row, remarks=list(file.remarks)))
    num_pieces = sum(row.status != "refused" for row in rows)
    counts = {"examples": sum(row.examples for row in rows), "pieces": num_pieces, "tunes": num_pieces}
    content = {
        "identity": _identity(config, source),
        "layout": layout.descr if layout else None,
        "written": {kind: format.describe_file(paths[kind]) | {"records": counts[kind]} for kind in format.KINDS},
        "files": [dataclasses.asdict(row) for row in rows],
    }
    format.write_json(paths["chunk"], content)
    return len(source.files)


def parse_and_encode(path: str, data: bytes | str, representation: AnyRepresentation) -> tuple[ParsedFile, Arrays]:
    """Parses the bytes of a file (see `parse`) and encodes it for training; a refused file has no arrays."""
    file = parsing.parse(path, data)
    if file.score is None:
        return file, {}
    try:
        return file, representation.encode_training(file.score)._asdict()
    except (ArithmeticError, LookupError, ValueError, MemoryError) as error:  # One file of thousands ends no ingest.
        reason = f"cannot be encoded ({type(error).__name__}: {error})"
        return dataclasses.replace(file, score=None, reasons=(*file.reasons, reason)), {}


def _open_folder(folder: pathlib.Path, source: Source, representation: Json) -> None:
    """Creates the folder or refuses one of other content, locks it and writes the plan."""
    plan = folder / format.PLAN
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: a file, not a folder; give another --shards")
        names = [entry.name for entry in folder.iterdir()] if folder.exists() else []
        if plan.name not in names and any(not name.startswith(".") for name in names):
            raise UserError(f"{folder}: not empty and not a folder of shards; give another --shards")
        lock.hold(folder)
        files.remove_leftovers(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be used as a folder of shards ({error.strerror or error})") from error
    if plan.exists():
        format.check_representation(folder, format.read_json(plan)["representation"], representation)
    format.write_json(plan, {"data": source.to_config(), "representation": representation})


def _identity(config: Json, source: Source) -> str:
    """Hash of everything that determines a chunk's content."""
    listed = [[file.path, file.size, file.stamp, file.refusal] for file in source.files]
    return files.hash_json([format.encoder_version(), config, listed])


def _is_written(folder: pathlib.Path, config: Json, chunk: tuple[int, Source]) -> bool:
    """Whether a chunk is complete and of the same files, config and encoder."""
    number, source = chunk
    try:
        content = format.read_json(format.chunk_path(folder, number, "chunk"))
        for kind in format.KINDS:
            format.check_file(format.chunk_path(folder, number, kind), content["written"][kind], by_hash=False)
        return content["identity"] == _identity(config, source)
    except UserError:
        return False


def _finish(folder: pathlib.Path, source: Source, config: Json, num_chunks: int) -> Json:
    """Groups the tunes, deletes the chunks of a larger corpus before, and writes the manifest."""
    contents = [format.read_json(format.chunk_path(folder, n, "chunk")) for n in range(num_chunks)]
    rows = [FileRow(**row) for content in contents for row in content["files"]]
    layouts = [content["layout"] for content in contents if content["layout"]]
    if not layouts:
        raise corpus.no_usable_file(source, rows[0])
    if any(layout != layouts[0] for layout in layouts):
        raise UserError(f"{folder}: the files give examples of different shapes; use another representation")
    counts = [content["written"]["tunes"]["records"] for content in contents]
    paths = [format.chunk_path(folder, n, "tunes") for n in range(num_chunks)]
    records = Records(paths, counts).read(range(sum(counts)))
    groups, fingerprint, totals = corpus.summarize(rows, [np.frombuffer(record, "<u8") for record in records])
    tunes = iter(groups)
    rows = [row if row.status == "refused" else dataclasses.replace(row, tune=next(tunes)) for row in rows]
    for path in folder.iterdir():
        match = re.fullmatch(r"\w+-(\d{5})\.\w+", path.name)
        if match and int(match[1]) >= num_chunks:
            path.unlink()
    manifest = {
        "corpus": source.name,
        "fingerprint": fingerprint,
        "totals": totals | {"examples": sum(row.examples for row in rows)},
        "representation": config,
        "layout": layouts[0],
        "chunks": [content["written"] for content in contents],
        "files": [dataclasses.asdict(row) for row in rows],
    }
    format.write_json(folder / format.MANIFEST, manifest)
    return manifest
