"""The music of a run for its page: pieces of the corpus with their reconstructions, samples, compositions."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence

import numpy as np

from vae_jax.data import corpus
from vae_jax.music import midi
from vae_jax.music.score import Score
from vae_jax.report.artifacts import pair_paths
from vae_jax.report.latent_map import LatentMap
from vae_jax.report.packing import pack_music, pack_tracks
from vae_jax.report.run_record import RunRecord
from vae_jax.runtime import files
from vae_jax.runtime.files import Json, printable
from vae_jax.training.run_dir import RunFolder

MAX_PACKED_BYTES = 7_000_000  # Of notes in base64: the page stays below ten megabytes.
_KINDS = ("original", "reconstruction")
_SCORES = ("note_f1_50ms", "note_f1_instrument", "ceiling_note_f1_50ms", "ceiling_note_f1_instrument")


@dataclasses.dataclass(frozen=True, eq=False)
class ReportPiece:
    """A piece of the corpus of a run.

    Attributes:
      name: its label in the corpus, with spaces for underscores.
      is_held_out: whether it was held out.
      file: its row of the ingest report; empty where there is none.
      scores: its row of the evaluation; empty where there is none.
      music: "original" and "reconstruction", those that the run's folder holds.
      urls: of both MIDI files, relative to the page.
    """

    name: str
    is_held_out: bool
    file: Json
    scores: Json
    music: Mapping[str, Score]
    urls: Mapping[str, str]

    def pack(self) -> Json:
        """Packs everything but the music."""
        return {
            "name": self.name,
            "held_out": self.is_held_out,
            "meter": self.file.get("meter"),
            "key": self.file.get("key"),
            "scores": {name: round(self.scores[name], 4) for name in _SCORES if name in self.scores},
            "notes": self.scores.get("notes"),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class ReportPieces:
    """The pieces of a corpus in its order, and a sentence for each of their files that cannot be read."""

    pieces: Sequence[ReportPiece]
    unreadable: Sequence[str]

    def pack(self, latent_map: LatentMap | None) -> list[Json]:
        """Packs every piece with its point on the map, and the music up to `MAX_PACKED_BYTES`.

        Held-out pieces come first, then the worst reconstructed ones.
        """
        rows = [piece.pack() for piece in self.pieces]
        if latent_map is not None:
            points = np.pad(latent_map.points, ((0, 0), (0, 1)))[:, :2].astype(np.float64).round(5)
            for row, point, cluster in zip(rows, points, latent_map.clusters, strict=True):
                row |= {"point": point.tolist(), "cluster": int(cluster)}
        num_bytes = 0
        pairs = zip(self.pieces, rows, strict=True)
        for piece, row in sorted(
            pairs, key=lambda pair: (not pair[0].is_held_out, pair[0].scores.get("note_f1_50ms", 0.0))
        ):
            if len(piece.music) < len(_KINDS):
                continue
            packed = {kind: pack_music(piece.music[kind], piece.urls[kind]) for kind in _KINDS}
            num_bytes += sum(len(one["notes"]) for one in packed.values())
            if num_bytes <= MAX_PACKED_BYTES:
                row |= packed | {"tracks": pack_tracks(piece.music["original"])}
        return rows


def read_pieces(run: RunRecord) -> ReportPieces:
    """Reads the pieces of a run, with the music that its folder holds."""
    held_out = set(run.description["split"]["held_out"])
    ingested = {file["path"]: file for file in run.ingest.get("files", []) if file["status"] != "refused"}
    # The corpus is in the order of its paths, to which "piece" of the latents refers.
    paths = list(ingested) or sorted([*held_out, *run.description["split"]["train"]])
    scores = {row["path"]: row for row in run.metrics.get("pieces", [])}
    labels = corpus.label_paths(paths)
    pieces, unreadable = [], []
    for path, label, name in zip(paths, labels, files.safe_names(labels), strict=True):
        pair = pair_paths(run.folder.reconstructions, name)
        if not pair[0].exists():
            pair = pair_paths(run.folder.training_reconstructions, name)
        music = {}
        for kind, one in zip(_KINDS, pair, strict=True):
            score, reason = _read_score(one)
            if score is not None:
                music[kind] = score
            elif reason is not None:
                unreadable.append(reason)
        urls = {kind: _url(one, run.folder) for kind, one in zip(_KINDS, pair, strict=True)}
        file, row = ingested.get(path, {}), scores.get(path, {})
        pieces.append(ReportPiece(display_name(label), path in held_out, file, row, music, urls))
    return ReportPieces(pieces, unreadable)


def pack_folder(folder: pathlib.Path, run: RunFolder) -> list[Json]:
    """Packs the MIDI files of a folder in the order of their names; of an unreadable one its name and the reason."""
    rows = []
    for path in sorted(folder.glob("*.mid")) if folder.is_dir() else []:
        score, reason = _read_score(path)
        row: Json = {"name": display_name(path.stem)}
        if score is None:
            rows.append(row | {"unreadable": reason})
        else:
            rows.append(row | {"tracks": pack_tracks(score), "music": pack_music(score, _url(path, run))})
    return rows


def display_name(name: str) -> str:
    """Returns the name of a file as the page displays it."""
    return printable(name).replace("_", " ")


def _read_score(path: pathlib.Path) -> tuple[Score | None, str | None]:
    """Reads a MIDI file; returns the score, or where there is an unreadable file a sentence."""
    try:
        return midi.read_midi(path.read_bytes()).score, None
    except FileNotFoundError:
        return None, None
    except (OSError, midi.MidiError) as error:
        return None, f"{printable(path.name)} cannot be read ({error})"


def _url(path: pathlib.Path, folder: RunFolder) -> str:
    return urllib.parse.quote(os.fsencode(path.relative_to(folder.path).as_posix()))
