"""The ingest report: the status of every file of a corpus."""

import collections
from collections.abc import Mapping

from vae_jax.data.corpus import Corpus
from vae_jax.data.parsing import ParsedFile
from vae_jax.music import theory
from vae_jax.music.score import Score
from vae_jax.runtime.files import Json, printable
from vae_jax.runtime.text import quantity, shorten

_MAX_NAME = 80  # Of a row; the JSON has the whole name.


def describe_corpus(corpus: Corpus) -> Json:
    """Describes a corpus for `ingest.json`: totals, files in order of their paths, and groups of duplicate tunes."""
    groups = collections.defaultdict(list)
    for piece, group in zip(corpus.pieces, corpus.tune_groups, strict=True):
        groups[group].append(piece.path)
    return {
        "corpus": corpus.name,
        "fingerprint": corpus.fingerprint,
        "totals": dict(corpus.totals),
        "files": [_describe(file) for file in corpus.files],
        "duplicates": [paths for paths in groups.values() if len(paths) > 1],
    }


def render_report(report: Json) -> str:
    """Renders an ingest report as text: a line a file, its reasons and remarks below it, the duplicates, the totals."""
    names = [shorten(printable(file["path"]), _MAX_NAME) for file in report["files"]]
    width = max(map(len, names))
    lines = [f"{'file':<{width}} {'status':<8} {'notes':>6} {'tracks':>6} {'length':>7} {'meter':>5} key"]
    for name, file in zip(names, report["files"], strict=True):
        row = f"{name:<{width}} {file['status']:<8}"
        if file["status"] != "refused":
            minutes, seconds = divmod(round(file["duration_sec"]), 60)
            row += f" {file['notes']:6d} {file['tracks']:6d} {minutes:4d}:{seconds:02d}"
            row += f" {file['meter'] or '-':>5} {file['key'] or '-'}"
        lines.append(row)
        lines.extend(f"    {printable(reason)}" for reason in file["reasons"] + file["remarks"])
    lines.extend("same tune: " + ", ".join(map(printable, paths)) for paths in report["duplicates"])
    return "\n".join([*lines, render_totals(report["totals"])])


def render_totals(totals: Mapping[str, int]) -> str:
    """Renders the totals of a report as a line."""
    return (
        f"{quantity(totals['files'], 'file')}: {totals['loaded']:,} loaded ({totals['repaired']:,} of them repaired), "
        f"{totals['refused']:,} refused, {quantity(totals['notes'], 'note')}, {quantity(totals['tunes'], 'tune')}"
    )


def _describe(file: ParsedFile) -> Json:
    described: Json = {name: getattr(file, name) for name in ("path", "status", "sha256", "notes")}
    described |= {"reasons": list(file.reasons), "remarks": list(file.remarks)}
    if (score := file.score) is not None:
        key = score.keys[0] if score.keys else None
        described |= {
            "drum_notes": int(score.notes.is_drum.sum()),
            "tracks": len(score.note_bearing_tracks()),
            "duration_sec": round(score.duration_sec, 3),
            "ticks_per_beat": score.ticks_per_beat,
            "meter": _main_meter(score),
            "key": theory.key_name(key.fifths, key.minor) if key else None,
        }
    return described


def _main_meter(score: Score) -> str | None:
    """The meter that holds longest, so that a pick-up bar notated as 1/4 does not name the piece."""
    ticks: collections.Counter[str] = collections.Counter()
    ends = [meter.tick for meter in score.meters[1:]] + [score.end_tick]
    for meter, end in zip(score.meters, ends, strict=False):
        ticks[f"{meter.numerator}/{meter.denominator}"] += max(0, end - meter.tick)
    return ticks.most_common(1)[0][0] if ticks else None
