"""Corpora: where the files come from and what was read from each."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tqdm

from vae_jax.data import conversion, deduplication, download, orchestration, parallel, parsing, sources
from vae_jax.data.config import DataConfig
from vae_jax.data.parsing import FileRow, ParsedFile
from vae_jax.data.sources import Source
from vae_jax.data.splits import Split
from vae_jax.music import notation
from vae_jax.music.score import Score
from vae_jax.runtime import files as files_lib
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.text import quantity

if TYPE_CHECKING:  # JAX is not imported by commands that only read files.
    from vae_jax.data.dataset import Examples
    from vae_jax.representations.base import AnyRepresentation

PATH_FLAG = "--config.data.path"
MIN_POOL_BYTES = 4 * 2**20  # One process parses fewer bytes before others have started.
_MAX_CHUNK_FILES, _MAX_CONVERTED_CHUNK_FILES = 512, 16
_CONVERSION_COST = 40  # A byte of another notation takes so much longer than one of MIDI.


@dataclasses.dataclass(frozen=True)
class Piece:
    """One loaded piece of a corpus: its path, a short label that is unique in the corpus, and its music."""

    path: str
    label: str
    score: Score


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """A corpus. Of one in shards only some files are in memory: those of the pieces that are evaluated.

    Attributes:
      files: the files in memory, in order of their paths; refused ones included, but for shards.
    """

    name: str  # Its name in reports.
    files: tuple[ParsedFile, ...]
    tune_groups: tuple[int, ...]  # For each of `pieces` a number that it shares with the pieces of the same tune.
    num_pieces: int  # Number of all loaded pieces, in memory or not.
    fingerprint: str  # Hash of the paths and contents of all loaded files: equal corpora have equal fingerprints.
    totals: Mapping[str, int]  # Counts over all files.

    @functools.cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The loaded files in memory."""
        loaded = [(file.path, file.score) for file in self.files if file.score is not None]
        labels = label_paths([path for path, _ in loaded])
        return tuple(Piece(path, label, score) for (path, score), label in zip(loaded, labels, strict=True))

    def training_paths(self, split: Split) -> list[str]:
        """Paths of all pieces that a model is trained on."""
        return [self.pieces[n].path for n in split.train]

    def training_examples(self, representation: AnyRepresentation, split: Split) -> Examples:
        """The examples of these pieces."""
        from vae_jax.data.dataset import ArrayExamples
        from vae_jax.representations import arrays

        encoded = [representation.encode_training(self.pieces[n].score) for n in split.train]
        return ArrayExamples(arrays.concatenate(encoded))


def make_corpus(name: str, files: Sequence[ParsedFile]) -> Corpus:
    """Returns a corpus of files that are all in memory."""
    shingles = [deduplication.pack_shingles(file.score) for file in files if file.score is not None]
    groups, fingerprint, totals = summarize(files, shingles)
    return Corpus(name, tuple(files), tuple(groups), len(groups), fingerprint, totals)


def summarize(
    files: Sequence[ParsedFile] | Sequence[FileRow], shingles: Sequence[np.ndarray]
) -> tuple[list[int], str, dict[str, int]]:
    """Returns the tune groups, the fingerprint and the totals (see `Corpus`) of files and the loaded ones' shingles."""
    loaded = [file for file in files if file.status != "refused"]
    groups = deduplication.group_tunes(shingles, [file.sha256 for file in loaded])
    fingerprint = hashlib.sha256(repr([(file.path, file.sha256) for file in loaded]).encode()).hexdigest()
    counts = collections.Counter(file.status for file in files)
    totals = {
        "files": len(files),
        "loaded": len(loaded),
        "repaired": counts["repaired"],
        "refused": counts["refused"],
        "notes": sum(file.notes for file in files),
        "tunes": len(set(groups)),
    }
    return groups, fingerprint, totals


def orchestrate(corpus: Corpus, seed: int) -> Corpus:
    """Returns a corpus whose pieces are given to other ensembles (`orchestration.orchestrate`)."""
    files = [
        file
        if file.score is None
        else dataclasses.replace(file, score=orchestration.orchestrate(file.score, np.random.default_rng([seed, n])))
        for n, file in enumerate(corpus.files)
    ]
    return dataclasses.replace(corpus, files=tuple(files))


def label_paths(paths: Sequence[str]) -> list[str]:
    """Short labels that are unique in a corpus: the file's stem, or the whole path if two files share it."""
    stems = [pathlib.PurePosixPath(path).stem for path in paths]
    taken = collections.Counter(stems) + collections.Counter(paths)
    return [stem if taken[stem] == 1 else path for stem, path in zip(stems, paths, strict=True)]


def find_sources(data: DataConfig, path: str = "", *, allow_chorales: bool, flag: str = PATH_FLAG) -> list[Source]:
    """Finds the corpora of a run, at the paths given, else at the config's, with commas between them; see
    `find_source`."""
    path = path or data.path
    single = not path or os.path.lexists(files_lib.expand_home(path))  # A name may have a comma in it.
    paths = [path] if single else [one.strip() for one in path.split(",")]
    found = [find_source(data, one, allow_chorales=allow_chorales, flag=flag) for one in paths]
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise UserError(f"{flag}: two corpora of one name ({', '.join(names)}); rename one")
    return found


def find_source(data: DataConfig, path: str = "", *, allow_chorales: bool, flag: str = PATH_FLAG) -> Source:
    """Finds the files of a corpus: at the path given, else at the config's; without one, the anthem archive (cached or
    downloaded), or if allowed, with a warning, the Bach chorales. Raises UserError if there are none; it names the flag
    by which the user can give others."""
    path = path or data.path
    if path == sources.SYNTHETIC_NAME:
        return sources.list_synthetic(data.num_synthetic, data.synthetic_seed)
    if path and path not in sources.SHIPPED:
        return sources.list_source(path)
    if not path:
        try:
            return sources.list_source(str(download.fetch_anthems(data.url)))
        except UserError as error:
            if not allow_chorales:
                raise UserError(f"{error}; give your own files with {flag}=FOLDER_OR_ZIP") from error
            print(f"warning: {error}; using the Bach chorales that music21 ships instead", file=sys.stderr)
    return sources.list_shipped(path or sources.CHORALES_NAME)


def read_sources(found: Sequence[Source], excluded: Corpus | None = None) -> Corpus:
    """Reads corpora as one, the paths of several behind their names. A file of a tune that another corpus has too is
    refused. Raises UserError as `read_source`, or where nothing is left."""
    if len(found) == 1:
        corpus = read_source(found[0])
    else:
        files = [dataclasses.replace(file, path=f"{one.name}/{file.path}") for one in found for file in _parse(one)]
        corpus = make_corpus(" + ".join(one.name for one in found), files)
    if excluded is not None:
        corpus = _without(corpus, excluded)
        if not corpus.num_pieces:
            raise UserError(f"every piece of {corpus.name} is a tune of {excluded.name} too")
    return corpus


def _without(corpus: Corpus, excluded: Corpus) -> Corpus:
    """Refuses the files of a corpus whose tunes another one has."""
    both = [*corpus.files, *excluded.files]
    loaded = [n for n, file in enumerate(both) if file.score is not None]
    shingles = [deduplication.pack_shingles(file.score) for file in both if file.score is not None]
    groups = deduplication.group_tunes(shingles, [both[n].sha256 for n in loaded])
    theirs = {group: both[n].path for n, group in zip(loaded, groups, strict=True) if n >= len(corpus.files)}
    files = list(corpus.files)
    for n, group in zip(loaded, groups, strict=True):
        if n < len(files) and group in theirs:
            reason = f"its tune is excluded: {theirs[group]} of {excluded.name}"
            files[n] = dataclasses.replace(files[n], score=None, reasons=(reason,))
    return make_corpus(corpus.name, files)


def load_corpus(path: str) -> Corpus:
    """Reads a file, a folder (recursively) or a zip; raises UserError if it holds no usable file."""
    return read_source(sources.list_source(path))


def load_piece(path: str) -> Piece:
    """Reads one file of one piece, which may lie in a zip; raises UserError for anything else."""
    source = sources.list_source(path)
    if len(source.files) > 1 or pathlib.Path(source.path).is_dir():
        raise UserError(f"{path}: a corpus of {quantity(len(source.files), 'file')}; give one file")
    pieces = read_source(source).pieces
    if len(pieces) > 1:
        raise UserError(f"{path}: a book of {quantity(len(pieces), 'tune')}; give a file of one")
    return pieces[0]


def synthetic_corpus(num_pieces: int, seed: int) -> Corpus:
    """Returns the synthetic corpus, parsed from its own MIDI bytes."""
    return read_source(sources.list_synthetic(num_pieces, seed))


def read_source(source: Source) -> Corpus:
    """Reads the files of a source, a large one on all cores; raises UserError if none of them is usable."""
    return make_corpus(source.name, _parse(source))


def _parse(source: Source) -> list[ParsedFile]:
    """Parses the files of a source as `read_source`."""
    converted = any(notation.suffix_of(file.path) for file in source.files)
    chunk_files, num_workers = len(source.files), 1
    if _cost(source) >= MIN_POOL_BYTES:
        num_workers = parallel.num_cores()
        chunk_files = chunk_files // (4 * num_workers) + 1
    chunks = source.split(min(chunk_files, _MAX_CONVERTED_CHUNK_FILES if converted else _MAX_CHUNK_FILES))
    with (
        contextlib.closing(parallel.map_ordered(parsing.parse_all, chunks, num_workers)) as parsed,
        _progress(len(source.files), is_shown=converted) as bar,
    ):
        files: list[ParsedFile] = []
        for chunk, more in zip(chunks, parsed, strict=True):
            files += more
            bar.update(len(chunk.files))
    if all(file.score is None for file in files):
        raise no_usable_file(source, files[0])
    return files


def _cost(source: Source) -> int:
    """Bytes to parse. Of a small corpus, those that have to be converted first count for what they cost."""
    cost = sum(file.size for file in source.files)
    if any(notation.suffix_of(file.path) for file in source.files):
        for path, data in sources.read_files(source):
            if cost >= MIN_POOL_BYTES:
                break
            suffix = notation.suffix_of(path)
            if suffix and isinstance(data, bytes) and not conversion.is_kept(data, suffix):
                cost += _CONVERSION_COST * len(data)
    return cost


def _progress(num_files: int, *, is_shown: bool) -> tqdm.tqdm:
    """A bar that appears where the conversion of other notations takes long."""
    text = "converting to scores, once"
    return tqdm.tqdm(total=num_files, unit="file", desc=text, leave=False, delay=2, mininterval=1, disable=not is_shown)


def no_usable_file(source: Source, first: ParsedFile | FileRow) -> UserError:
    """The error of a corpus without a piece; names its first file."""
    among = f" among {len(source.files)}" if len(source.files) > 1 else ""
    return UserError(f"{source.path or source.name}: no usable music file{among} ({first.path}: {first.reasons[0]})")
