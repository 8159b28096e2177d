"""The music of a run's folder for its page: the corpus's pieces with their reconstructions, samples, compositions."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.data import corpus
from vae_jax.music import midi
from vae_jax.music.score import Score
from vae_jax.report.artifacts import pair_paths
from vae_jax.report.latent_map import LatentMap
from vae_jax.report.packing import pack_music, track_list
from vae_jax.report.run_record import Record
from vae_jax.runtime import files
from vae_jax.runtime.files import printable
from vae_jax.training.run_dir import RunFolder

# Of notes in base64; the rest of the page has room below ten megabytes.
MAX_PACKED_BYTES = 7_000_000
_SCORES = ("note_f1_50ms", "note_f1_instrument", "ceiling_note_f1_50ms", "ceiling_note_f1_instrument")


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """A piece of the run's corpus.

    Attributes:
      name: what the page calls it: its label in the corpus, without underscores.
      is_held_out: whether the model never saw it.
      meter, key: as stated in its file; None where it does not say, or where the ingest report is missing.
      scores: its row of the evaluation; empty where there is none.
      original, reconstruction: the music; None where the run's folder does not hold it.
      urls: where both lie, relative to the page.
    """

    name: str
    is_held_out: bool
    meter: str | None
    key: str | None
    scores: Mapping[str, Any]
    original: Score | None
    reconstruction: Score | None
    urls: tuple[str, str]

    def packed(self) -> dict[str, Any]:
        """What the page shows of the piece, without the music."""
        return {
            "name": self.name,
            "held_out": self.is_held_out,
            "meter": self.meter,
            "key": self.key,
            "scores": {name: round(self.scores[name], 4) for name in _SCORES if name in self.scores},
            "notes": self.scores.get("notes"),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Shelf:
    """The pieces of a corpus in its order, and what could not be read of their files."""

    pieces: Sequence[Piece]
    complaints: Sequence[str]

    def packed(self, latent_map: LatentMap | None) -> list[dict[str, Any]]:
        """Every piece as the page carries it, with its point on the map and, while there is room, with its music.

        Room goes to held-out pieces first, then to the worst reconstructed.
        """
        described = [piece.packed() for piece in self.pieces]
        if latent_map is not None:
            for row, point, cluster in zip(described, latent_map.points, latent_map.clusters, strict=True):
                row |= {"point": [float(value) for value in _two_axes(point)], "cluster": int(cluster)}
        room = MAX_PACKED_BYTES
        order = sorted(range(len(described)), key=lambda n: self._urgency(self.pieces[n]))
        for piece, row in ((self.pieces[n], described[n]) for n in order):
            if piece.original is None or piece.reconstruction is None:
                continue
            music = {
                "original": pack_music(piece.original, piece.urls[0]),
                "reconstruction": pack_music(piece.reconstruction, piece.urls[1]),
            }
            room -= sum(len(one["notes"]) for one in music.values())
            if room >= 0:
                row |= music | {"tracks": track_list(piece.original)}
        return described

    @staticmethod
    def _urgency(piece: Piece) -> tuple[bool, float]:
        return not piece.is_held_out, piece.scores.get("note_f1_50ms", 0.0)


def read_pieces(run: Record) -> Shelf:
    """Reads the pieces of a run and whatever the run's folder keeps of their music."""
    held_out = set(run.description["split"]["held_out"])
    ingested = {file["path"]: file for file in run.ingest.get("files", []) if file["status"] != "refused"}
    # The order of the corpus is that of its paths, which `piece` of the latents counts.
    paths = list(ingested) or sorted([*held_out, *run.description["split"]["train"]])
    scores = {row["path"]: row for row in run.metrics.get("pieces", [])}
    labels = corpus.label_paths(paths)
    pieces, complaints = [], []
    for path, label, name in zip(paths, labels, files.safe_names(labels), strict=True):
        music: list[Score | None] = []
        places = _places(run.folder, name)
        for place in places:
            score, complaint = _read_score(place)
            music.append(score)
            complaints += [complaint] if complaint else []
        file = ingested.get(path, {})
        pieces.append(
            Piece(
                name=shown_name(label),
                is_held_out=path in held_out,
                meter=file.get("meter"),
                key=file.get("key"),
                scores=scores.get(path, {}),
                original=music[0],
                reconstruction=music[1],
                urls=(_url(places[0], run.folder), _url(places[1], run.folder)),
            )
        )
    return Shelf(pieces, complaints)


def pack_folder(folder: pathlib.Path, run: RunFolder) -> list[dict[str, Any]]:
    """Packs every MIDI file of a folder, in order of their names; one that cannot be read is named with its reason."""
    packed = []
    for path in sorted(folder.glob("*.mid")) if folder.is_dir() else []:
        score, complaint = _read_score(path)
        row: dict[str, Any] = {"name": shown_name(path.stem)}
        if score is None:
            packed.append(row | {"complaint": complaint})
        else:
            packed.append(row | {"tracks": track_list(score), "music": pack_music(score, _url(path, run))})
    return packed


def shown_name(name: str) -> str:
    """A file's name as the page shows it."""
    return printable(name).replace("_", " ")


def _places(folder: RunFolder, name: str) -> tuple[pathlib.Path, pathlib.Path]:
    first = pair_paths(folder.reconstructions, name)
    return first if first[0].exists() else pair_paths(folder.training_reconstructions, name)


def _read_score(path: pathlib.Path) -> tuple[Score | None, str | None]:
    """Reads a MIDI file of the run; returns the music, or a sentence where there is a file but no music in it."""
    try:
        return midi.read_midi(path.read_bytes()).score, None
    except FileNotFoundError:
        return None, None
    except (OSError, midi.MidiError) as error:
        return None, f"{printable(path.name)} cannot be read ({error})"


def _url(path: pathlib.Path, folder: RunFolder) -> str:
    return urllib.parse.quote(os.fsencode(path.relative_to(folder.path).as_posix()))


def _two_axes(point: np.ndarray) -> np.ndarray:
    return np.round(np.pad(point[:2].astype(np.float64), (0, max(0, 2 - len(point)))), 5)
