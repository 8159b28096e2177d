"""Describes the files of a corpus, or writes a corpus that is too large for memory as shards.

python -m vae_jax.ingest --path=FOLDER_OR_ZIP
python -m vae_jax.ingest --path=FOLDER_OR_ZIP --shards=DIR --config=configs/anthems.py [--workers=8]
python -m vae_jax.ingest --shards=DIR [--verify]

The last resumes unfinished shards, or compares finished ones with their hashes.
"""

import os
import pathlib

from absl import flags

from vae_jax.runtime import cli, files
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.text import quantity


def _write_shards(args: flags.FlagValues) -> None:
    """Writes, resumes or verifies shards."""
    from vae_jax.data import ingest_report
    from vae_jax.data.shards import reader, writer

    folder = pathlib.Path(args.shards)
    if args.verify:
        reader.open_shards(args.shards, by_hash=True)
        print(f"{folder}: every file matches its hash")
        return
    config = None if args.config is None else cli.config_value().to_dict()
    manifest = writer.write_shards(folder, config, args.path, num_workers=args.workers or os.cpu_count() or 1)
    print(ingest_report.render_totals(manifest["totals"]))
    num_examples = quantity(manifest["totals"]["examples"], "example")
    print(f"{num_examples} in {folder}; train with --config.data.shards={folder}")


def main() -> None:
    """Prints the report and writes it as JSON, or writes shards."""
    from vae_jax.data import corpus, ingest_report
    from vae_jax.data.config import DataConfig

    args = cli.flag_values()
    if args.shards:
        _write_shards(args)
        return
    for name in ("config", "workers", "verify"):
        if args[name].present:
            raise UserError(f"--{name} requires --shards")
    found = corpus.find_sources(DataConfig(path=args.path), allow_chorales=False, flag="--path")
    report = ingest_report.describe_corpus(corpus.read_sources(found))
    print(ingest_report.render_report(report))
    if args.output:
        files.write_json(pathlib.Path(args.output), report)


if __name__ == "__main__":
    from ml_collections import config_flags

    flags.DEFINE_string("path", "", "As config.data.path: a file, a folder, a zip or a name; empty for the anthems.")
    flags.DEFINE_string("output", "", "Where to write the report as JSON; empty to print only.")
    flags.DEFINE_string("shards", "", "Folder of shards: the examples of a config's representation.")
    flags.DEFINE_integer("workers", 0, "Processes that write shards; 0 for one per core.", lower_bound=0)
    flags.DEFINE_bool("verify", False, "Compare every file of --shards with its hash.")
    config_flags.DEFINE_config_file("config", None, "The config whose representation --shards writes.")
    cli.run(main)
