"""Corpora: where the MIDI files come from, what became of each, and which are held out."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import hashlib
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.data import deduplication, download, parallel, sources
from vae_jax.data.sources import Source
from vae_jax.music.score import Score
from vae_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class IngestedFile:
    """What became of one file.

    Attributes:
      path: the file's path inside its folder or zip, with forward slashes.
      sha256: hash of its bytes; empty where they could not be read.
      score: the music; None where the file was refused.
      reasons: what was repaired, or why it was refused.
    """

    path: str
    sha256: str = ""
    score: Score | None = None
    reasons: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """One of loaded, repaired, refused."""
        if self.score is None:
            return "refused"
        return "repaired" if self.reasons else "loaded"


@dataclasses.dataclass(frozen=True)
class Piece:
    """One loaded piece of a corpus: its path, a short label that is unique in the corpus, and its music."""

    path: str
    label: str
    score: Score


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """A set of MIDI files in order of their paths.

    Attributes:
      name: what reports call it.
      files: every MIDI file found, refused ones included.
    """

    name: str
    files: tuple[IngestedFile, ...]

    @functools.cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The files that could be loaded."""
        loaded = [file for file in self.files if file.score is not None]
        labels = label_paths([file.path for file in loaded])
        return tuple(
            Piece(file.path, label, file.score)
            for file, label in zip(loaded, labels, strict=True)
            if file.score is not None
        )

    @functools.cached_property
    def tune_groups(self) -> tuple[int, ...]:
        """For each piece the index of the first piece with the same tune."""
        loaded = [file for file in self.files if file.score is not None]
        return tuple(
            deduplication.group_tunes([piece.score for piece in self.pieces], [file.sha256 for file in loaded])
        )

    @property
    def num_pieces(self) -> int:
        """Number of files that could be loaded."""
        return len(self.pieces)

    @property
    def whole_totals(self) -> Mapping[str, int] | None:
        """The totals of the ingest report where these are only some pieces of a larger corpus."""
        return None

    def training_paths(self, split: Split) -> list[str]:
        """The files that a model is trained on."""
        return [self.pieces[n].path for n in split.train]

    @property
    def fingerprint(self) -> str:
        """Hash of the paths and contents of the loaded files: equal corpora have equal fingerprints."""
        return fingerprint([(file.path, file.sha256) for file in self.files if file.score is not None])


@dataclasses.dataclass(frozen=True)
class Split:
    """Indices into a corpus's pieces, ascending."""

    train: tuple[int, ...]
    held_out: tuple[int, ...]


def fingerprint(loaded: Sequence[tuple[str, str]]) -> str:
    """Hashes the paths and content hashes of a corpus's loaded files, in order of the paths."""
    return hashlib.sha256(repr(list(loaded)).encode()).hexdigest()


def label_paths(paths: Sequence[str]) -> list[str]:
    """Short labels that are unique in a corpus: the file's stem, the whole path where two files share it."""
    stems = [pathlib.PurePosixPath(path).stem for path in paths]
    taken = collections.Counter(stems) + collections.Counter(paths)
    return [stem if taken[stem] == 1 else path for stem, path in zip(stems, paths, strict=True)]


def find_corpus(
    path: str = "",
    *,
    url: str = download.ANTHEMS_URL,
    allow_synthetic: bool = True,
    num_synthetic: int = 135,
    synthetic_seed: int = 0,
) -> Corpus:
    """Finds the corpus of a run: the path given, else the anthem archive (cached or downloaded), else the synthetic
    corpus.

    Args:
      path: a MIDI file, a folder or a zip; empty for the national anthems.
      url: where the anthem archive is published.
      allow_synthetic: whether to fall back on the synthetic corpus, with a warning, where the archive cannot be had.
      num_synthetic: number of pieces in the synthetic corpus.
      synthetic_seed: seed of the synthetic corpus.

    Raises:
      UserError: where the path holds no usable file, or the archive cannot be had and the synthetic corpus is not
        allowed.
    """
    if path == sources.SYNTHETIC_NAME:
        return synthetic_corpus(num_synthetic, synthetic_seed)
    if path:
        return load_corpus(path)
    try:
        archive = download.fetch_anthems(url)
    except download.DownloadError as error:
        if not allow_synthetic:
            raise UserError(f"{error}; give your own files with --config.data.path=FOLDER_OR_ZIP") from error
        print(f"warning: {error}; using the synthetic corpus of {num_synthetic} pieces instead", file=sys.stderr)
        return synthetic_corpus(num_synthetic, synthetic_seed)
    return load_corpus(str(archive))


def fetch_anthems(url: str) -> str:
    """Returns the path of the anthem archive, cached or downloaded.

    Raises:
      UserError: where it cannot be had.
    """
    try:
        return str(download.fetch_anthems(url))
    except download.DownloadError as error:
        raise UserError(f"{error}; give your own files with --path=FOLDER_OR_ZIP") from error


def synthetic_corpus(num_pieces: int, seed: int) -> Corpus:
    """Returns the synthetic corpus, read back from its own MIDI bytes as any file is."""
    if num_pieces < 1:
        raise UserError(f"the synthetic corpus needs at least one piece, got {num_pieces}")
    source = sources.list_synthetic(num_pieces, seed)
    return Corpus(source.name, _ingest(source))


def load_corpus(path: str) -> Corpus:
    """Reads a MIDI file, a folder (recursively) or a zip.

    Raises:
      UserError: where the path cannot be read or holds no usable MIDI file.
    """
    source = sources.list_source(path)
    files = _ingest(source)
    if all(file.score is None for file in files):
        detail = f"{files[0].path}: {files[0].reasons[0]}"
        raise UserError(f"{path}: no usable MIDI file among {len(files)} ({detail})")
    return Corpus(source.name, files)


def split_corpus(
    corpus: Corpus, num_held_out: int, seed: int, by: str = "tune", *, num_folds: int = 0, fold: int = 0
) -> Split:
    """Splits a corpus at random, or into folds: `split_groups` of its tunes."""
    return split_groups(corpus.tune_groups, num_held_out, seed, by, num_folds=num_folds, fold=fold)


def split_groups(
    tune_groups: Sequence[int], num_held_out: int, seed: int, by: str = "tune", *, num_folds: int = 0, fold: int = 0
) -> Split:
    """Splits pieces at random, or into folds.

    Args:
      tune_groups: of each piece the index of the first with the same tune.
      num_held_out: how many tunes (or files) are held out; at most a half of what there is.
      seed: seed of the split.
      num_folds: above zero, the tunes are dealt into so many folds and `num_held_out` does not count.
      fold: which of the folds is held out, from 0.
      by: "tune" keeps the files of one tune together; "file" does not, as in the post, and lets duplicates leak.

    Raises:
      UserError: for an unknown `by`, a negative count or a fold that does not exist.
    """
    if by not in ("tune", "file"):
        raise UserError(f"config.data.split_by must be 'tune' or 'file', got {by!r}")
    if num_held_out < 0:
        raise UserError(f"config.data.num_held_out must not be negative, got {num_held_out}")
    groups = tune_groups if by == "tune" else tuple(range(len(tune_groups)))
    names = sorted(set(groups))
    order = np.random.default_rng(seed).permutation(len(names))
    if num_folds:
        if not 2 <= num_folds <= len(names) or not 0 <= fold < num_folds:
            raise UserError(
                f"config.data.num_folds must lie in 2..{len(names)} and fold below it, got {num_folds}, {fold}"
            )
        chosen = order[fold::num_folds]
    else:
        chosen = order[: min(num_held_out, len(names) // 2)]
    held_out_groups = {names[n] for n in chosen}
    held_out = tuple(n for n, group in enumerate(groups) if group in held_out_groups)
    return Split(tuple(n for n, group in enumerate(groups) if group not in held_out_groups), held_out)


def _ingest(source: Source) -> tuple[IngestedFile, ...]:
    """Reads the files of a source in their order."""
    files = []
    found = ((file.path, data) for file, data in sources.read_listed(source, source.files))
    with contextlib.closing(parallel.read_files(found)) as outcomes:
        for path, outcome in outcomes:
            if isinstance(outcome, str):
                files.append(IngestedFile(path, reasons=(outcome,)))
            else:
                files.append(IngestedFile(path, outcome.sha256, outcome.verdict.score, outcome.verdict.reasons))
    return tuple(files)


def find_split(data: Mapping[str, Any], path: str = "") -> tuple[Corpus, Split]:
    """Finds the corpus that a config's `data` section describes, or takes the one at another path, and splits it."""
    source = find_corpus(
        path or data["path"],
        url=data["url"],
        allow_synthetic=data["allow_synthetic"],
        num_synthetic=data["num_synthetic"],
        synthetic_seed=data["synthetic_seed"],
    )
    split = split_corpus(
        source,
        data["num_held_out"],
        data["split_seed"],
        data["split_by"],
        num_folds=data["num_folds"],
        fold=data["fold"],
    )
    return source, split
