"""The files of a run for its page: the run's record, pieces with their reconstructions, samples, compositions."""

import base64
import dataclasses
import os
import pathlib
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from vae_jax.data import corpus
from vae_jax.music import instruments, midi
from vae_jax.music.score import Score
from vae_jax.report.artifacts import pair_paths
from vae_jax.report.latent_map import LatentMap
from vae_jax.runtime import files, npz
from vae_jax.runtime.files import Json, printable
from vae_jax.training import logging, run_dir
from vae_jax.training.run_dir import RunFolder

MAX_PACKED_BYTES = 7_000_000  # Of notes in base64: the page stays below ten megabytes.
_KINDS = ("original", "reconstruction")
_SCORES = ("note_f1_50ms", "note_f1_instrument", "ceiling_note_f1_50ms", "ceiling_note_f1_instrument")


@dataclasses.dataclass(frozen=True, eq=False)
class RunRecord:
    """The files of a run; `ingest`, `metrics`, `timing` and `latents` are empty where their file is missing."""

    folder: RunFolder
    config: Json
    description: Json  # `run.json`.
    ingest: Json
    metrics: Json
    timing: Json
    log: Sequence[Mapping[str, float]]  # The lines of `metrics.jsonl`.
    latents: Mapping[str, np.ndarray]  # "mean" [N, Z] and "piece" [N].


@dataclasses.dataclass(frozen=True, eq=False)
class ReportPiece:
    """A piece of the corpus of a run."""

    name: str  # Its label in the corpus, with spaces for underscores.
    is_held_out: bool
    file: Json  # Its row of the ingest report; empty where there is none.
    scores: Json  # Its row of the evaluation; empty where there is none.
    music: Mapping[str, Score]  # "original" and "reconstruction", those that the run's folder holds.
    urls: Mapping[str, str]  # Of both MIDI files, relative to the page.


@dataclasses.dataclass(frozen=True, eq=False)
class ReportPieces:
    """The pieces of a corpus in its order, and a sentence for each of their files that cannot be read."""

    pieces: Sequence[ReportPiece]
    unreadable: Sequence[str]

    def pack(self, latent_map: LatentMap | None) -> list[Json]:
        """Packs every piece with its point on the map, and the music up to `MAX_PACKED_BYTES`.

        Held-out pieces come first, then the worst reconstructed ones.
        """
        rows: list[Json] = [
            {
                "name": piece.name,
                "held_out": piece.is_held_out,
                "meter": piece.file.get("meter"),
                "key": piece.file.get("key"),
                "scores": {name: round(piece.scores[name], 4) for name in _SCORES if name in piece.scores},
                "notes": piece.scores.get("notes"),
            }
            for piece in self.pieces
        ]
        if latent_map is not None:
            points = np.pad(latent_map.points, ((0, 0), (0, 1)))[:, :2].astype(np.float64).round(5)
            for row, point, cluster in zip(rows, points, latent_map.clusters, strict=True):
                row |= {"point": point.tolist(), "cluster": int(cluster)}
        num_bytes = 0
        pairs = [pair for pair in zip(self.pieces, rows, strict=True) if len(pair[0].music) == len(_KINDS)]
        pairs.sort(key=lambda pair: (not pair[0].is_held_out, pair[0].scores.get("note_f1_50ms", 0.0)))
        for piece, row in pairs:
            packed = {kind: pack_music(piece.music[kind], piece.urls[kind]) for kind in _KINDS}
            num_bytes += sum(len(one["notes"]) for one in packed.values())
            if num_bytes <= MAX_PACKED_BYTES:
                row |= packed | {"tracks": _pack_tracks(piece.music["original"])}
        return rows


def read_run(path: pathlib.Path) -> RunRecord:
    """Reads the files of a run's folder. Raises UserError where the folder holds no run, or a file of it is damaged."""
    folder, config, description = run_dir.load_run(str(path))
    ingest, metrics, timing = (
        files.read_json(one) if one.exists() else {} for one in (folder.ingest, folder.metrics, folder.timing)
    )
    latents = npz.read_npz(folder.latents, ("mean", "piece")) if folder.latents.exists() else {}
    return RunRecord(folder, config, description, ingest, metrics, timing, logging.read_log(folder), latents)


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
        music, urls = {}, {}
        for kind, one in zip(_KINDS, pair, strict=True):
            urls[kind] = _url(one, run.folder)
            score, reason = _read_score(one)
            if score is not None:
                music[kind] = score
            elif reason is not None:
                unreadable.append(reason)
        file, row = ingested.get(path, {}), scores.get(path, {})
        pieces.append(ReportPiece(display_name(label), path in held_out, file, row, music, urls))
    return ReportPieces(pieces, unreadable)


def pack_folder(folder: pathlib.Path, run: RunFolder) -> list[Json]:
    """Packs the MIDI files of a folder in the order of their names; of an unreadable one its name and the reason."""
    rows = []
    for name, score, reason in read_folder(folder):
        row: Json = {"name": display_name(name)}
        if score is None:
            rows.append(row | {"unreadable": reason})
        else:
            url = _url(folder / f"{name}.mid", run)
            rows.append(row | {"tracks": _pack_tracks(score), "music": pack_music(score, url)})
    return rows


def read_folder(folder: pathlib.Path) -> Iterator[tuple[str, Score | None, str | None]]:
    """Reads the MIDI files of a folder in the order of their names: gives the stem of each, and the score or a sentence
    that says why it cannot be read."""
    for path in sorted(folder.glob("*.mid")) if folder.is_dir() else []:
        yield path.stem, *_read_score(path)


def display_name(name: str) -> str:
    """Returns the name of a file as the page displays it."""
    return printable(name).replace("_", " ")


def pack_music(score: Score, url: str | None = None) -> Json:
    """Packs a score; `url` is that of its MIDI file relative to the page, None where the page makes the file itself."""
    return {"notes": pack_notes(score), "sec": round(score.duration_sec, 3), "url": url}


def pack_notes(score: Score) -> str:
    """Packs N notes, ordered by onset, as base64 of little-endian columns, eight bytes per note.

    Onset in milliseconds, N uint32; duration in milliseconds, N uint16; pitch, N uint8; group * 32 + velocity // 4,
    N uint8. Values beyond the range of a column are clipped.
    """
    onset = np.round(1000 * score.seconds(score.notes.onset_ticks))
    duration = np.round(1000 * score.seconds(score.notes.end_ticks)) - onset
    columns = [
        np.clip(onset, 0, 2**32 - 1).astype("<u4"),
        np.clip(duration, 1, 2**16 - 1).astype("<u2"),
        score.notes.pitch.astype(np.uint8),
        (instruments.assign_parts(score) * 32 + score.notes.velocity // 4).astype(np.uint8),
    ]
    return base64.b64encode(b"".join(column.tobytes() for column in columns)).decode("ascii")


def _pack_tracks(score: Score) -> list[Json]:
    """Packs the name, main instrument group and number of notes of each track that has notes."""
    part_of = instruments.assign_parts(score)
    tracks = []
    for track in score.note_bearing_tracks():
        mine = part_of[score.notes.track == track]
        name = printable(score.track_names[track]) or f"track {track + 1}"
        tracks.append({"name": name, "group": int(np.bincount(mine).argmax()), "notes": len(mine)})
    return tracks


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
