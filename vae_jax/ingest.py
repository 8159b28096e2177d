"""What is in a folder or zip of MIDI files, file by file, and the same as shards for a corpus too large for memory.

python -m vae_jax.ingest --path=FOLDER_OR_ZIP
python -m vae_jax.ingest --path=FOLDER_OR_ZIP --shards=DIR --config=configs/anthems.py [--workers=8]
python -m vae_jax.ingest --shards=DIR [--verify]

The last goes on with shards that are not finished, or compares them with their hashes.
"""

from __future__ import annotations

import collections
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

from vae_jax.data import corpus
from vae_jax.data.corpus import Corpus, IngestedFile
from vae_jax.music.score import KeySignature, Score
from vae_jax.runtime import cli, files
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import plain

_MAJOR_KEYS = "Cb Gb Db Ab Eb Bb F C G D A E B F# C#".split()
_MINOR_KEYS = "Ab Eb Bb F C G D A E B F# C# G# D# A#".split()


def ingest_report(source: Corpus) -> dict[str, Any]:
    """Describes a corpus for `ingest.json`: totals, files in order of their paths, and groups of duplicate tunes."""
    described = [_describe(file) for file in source.files]
    statuses = collections.Counter(file.status for file in source.files)
    groups = collections.defaultdict(list)
    for piece, group in zip(source.pieces, source.tune_groups, strict=True):
        groups[group].append(piece.path)
    totals = source.whole_totals or {
        "files": len(source.files),
        "loaded": statuses["loaded"] + statuses["repaired"],
        "repaired": statuses["repaired"],
        "refused": statuses["refused"],
        "notes": sum(file["notes"] for file in described),
        "tunes": len(groups),
    }
    return {
        "corpus": source.name,
        "fingerprint": source.fingerprint,
        "totals": dict(totals),
        "files": described,
        "duplicates": [paths for paths in groups.values() if len(paths) > 1],
    }


def render_report(report: dict[str, Any]) -> str:
    """Shows an ingest report as text: a line a file, its reasons below it, the duplicates and the totals."""
    width = max(len(plain(file["path"])) for file in report["files"])
    lines = [f"{'file':<{width}} {'status':<8} {'notes':>6} {'tracks':>6} {'length':>7} {'meter':>5} key"]
    for file in report["files"]:
        row = f"{plain(file['path']):<{width}} {file['status']:<8}"
        if file["status"] != "refused":
            minutes, seconds = divmod(round(file["duration_sec"]), 60)
            row += f" {file['notes']:6d} {file['tracks']:6d} {minutes:4d}:{seconds:02d}"
            row += f" {file['meter'] or '-':>5} {file['key'] or '-'}"
        lines.append(row)
        lines.extend(f"    {plain(reason)}" for reason in file["reasons"])
    lines.extend("same tune: " + ", ".join(map(plain, paths)) for paths in report["duplicates"])
    lines.append(render_totals(report["totals"]))
    return "\n".join(lines)


def render_totals(totals: Mapping[str, int]) -> str:
    """Shows the totals of a report as a line."""
    return (
        f"{totals['files']} files: {totals['loaded']} loaded ({totals['repaired']} of them repaired), "
        f"{totals['refused']} refused, {totals['notes']:,} notes, {totals['tunes']} tunes"
    )


def key_name(key: KeySignature) -> str:
    """Names a key signature: "Eb major", "C minor"."""
    return f"{_MINOR_KEYS[key.fifths + 7]} minor" if key.minor else f"{_MAJOR_KEYS[key.fifths + 7]} major"


def _describe(file: IngestedFile) -> dict[str, Any]:
    described: dict[str, Any] = {
        "path": file.path,
        "status": file.status,
        "reasons": list(file.reasons),
        "sha256": file.sha256,
        "notes": 0,
    }
    if file.score is not None:
        score = file.score
        described |= {
            "notes": len(score.notes),
            "drum_notes": int(score.notes.is_drum.sum()),
            "tracks": len(score.note_bearing_tracks()),
            "duration_sec": round(score.duration_sec, 3),
            "ticks_per_beat": score.ticks_per_beat,
            "meter": _main_meter(score),
            "key": key_name(score.keys[0]) if score.keys else None,
        }
    return described


def _main_meter(score: Score) -> str | None:
    """The meter that holds longest, so that a pick-up bar stated as 1/4 does not name the piece."""
    ticks: collections.Counter[str] = collections.Counter()
    ends = [meter.tick for meter in score.meters[1:]] + [score.end_tick]
    for meter, end in zip(score.meters, ends, strict=False):
        ticks[f"{meter.numerator}/{meter.denominator}"] += max(0, end - meter.tick)
    return ticks.most_common(1)[0][0] if ticks else None


def _write_shards(args: flags.FlagValues, config: Mapping[str, Any] | None) -> None:
    """Writes shards, goes on with them or checks them."""
    from vae_jax.data.shards import reader, writer

    folder = pathlib.Path(args.shards).expanduser()
    if args.verify:
        reader.verify(folder)
        print(f"{folder}: every file is as it was written")
        return
    plan = writer.make_plan(folder, config, args.path)
    num_workers = args.workers or os.cpu_count() or 1
    manifest = writer.write_shards(plan, folder, num_workers=num_workers)
    print(render_totals(manifest["totals"]))
    print(f"{manifest['totals']['examples']:,} examples are in {folder}; train with --config.data.shards={folder}")


def main() -> None:
    """Prints the report and writes it where asked, or writes shards."""
    args = cli.flag_values()
    if args.shards:
        _write_shards(args, None if args.config is None else cli.config_value(_CONFIG).to_dict())
        return
    for name in ("config", "workers", "verify"):
        if args[name].present:
            raise UserError(f"--{name} goes with --shards alone")
    source = corpus.find_corpus(args.path, allow_builtin=False)
    report = ingest_report(source)
    print(render_report(report))
    if args.output:
        files.write_json(pathlib.Path(args.output), report)


if __name__ == "__main__":
    from ml_collections import config_flags

    flags.DEFINE_string("path", "", "A MIDI file, a folder or a zip; empty for the national anthems.")
    flags.DEFINE_string("output", "", "Where to write the report as JSON; empty to print only.")
    flags.DEFINE_string("shards", "", "Where to write the examples of a config's representation, to train from.")
    flags.DEFINE_integer("workers", 0, "Processes that write shards; 0 for as many as cores.", lower_bound=0)
    flags.DEFINE_bool("verify", False, "Compare every file of --shards with its hash.")
    _CONFIG = config_flags.DEFINE_config_file("config", None, "The config whose representation --shards writes.")
    cli.run(main)
