"""What is in a folder or zip of MIDI files, file by file, and the same as shards for a corpus too large for memory.

python -m vae_jax.ingest --path=FOLDER_OR_ZIP
python -m vae_jax.ingest --path=FOLDER_OR_ZIP --shards=DIR --config=configs/anthems.py [--workers=8]
python -m vae_jax.ingest --shards=DIR [--verify]

The last goes on with shards that are not finished, or compares them with their hashes.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

from vae_jax.data import corpus, ingest_report
from vae_jax.runtime import cli, files
from vae_jax.runtime.errors import UserError


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
    print(ingest_report.render_totals(manifest["totals"]))
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
    source = corpus.find_corpus(args.path, allow_synthetic=False)
    report = ingest_report.describe_corpus(source)
    print(ingest_report.render_report(report))
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
