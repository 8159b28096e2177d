"""Exports a trained run as a small folder that every command takes in place of a run's: to share, or to start from.

python -m vae_jax.export --workdir=RUN --output=DIR [--notes=FILE]
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING

from absl import flags

from vae_jax.runtime import cli, files

if TYPE_CHECKING:
    from vae_jax.runtime.files import Json
    from vae_jax.training.experiment import TrainedRun

_MAX_PIECES = 200  # Whose conditions go along, evenly spaced.


def _make_card(run: TrainedRun, description: Json, notes: str) -> str:
    """What a reader of the folder should know: where the parameters come from, on what, and how good they are."""
    from vae_jax.evaluation import reconstruction
    from vae_jax.evaluation.likelihood import table as likelihood

    corpus, split = description["corpus"], description["split"]
    held_out = ", ".join(pathlib.PurePosixPath(path).stem for path in split["held_out"])
    rows = {
        "config": run.experiment.name,
        "commit": description["git_commit"],
        "corpus": f"{corpus['name']} ({corpus['pieces']} pieces, fingerprint {corpus['fingerprint'][:12]})",
        "started from": ", ".join(
            f"{part} of {one['config']} {one['run_id']}" for part, one in description.get("init_from", {}).items()
        )
        or "nothing",
        "updates": ", ".join(f"{part} {count}" for part, count in description["steps"].items()),
        "sha256 of the parameters": ", ".join(f"{part} {one[:16]}" for part, one in description["sha256"].items()),
        "held out": held_out or "nothing",
    }
    table = [f"| {name} | {files.printable(str(value))} |" for name, value in rows.items()]
    lines = [f"# {run.experiment.name}: a trained run", "", notes.strip(), "", "| | |", "|---|---|", *table]
    if run.folder.metrics.exists():
        results = files.read_json(run.folder.metrics)
        summaries = [reconstruction.summarise(results)]
        if "likelihood" in results:
            summaries.append(likelihood.summarise(results["likelihood"]))
        lines += ["", "```", "\n\n".join(summaries), "```"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes the folder."""
    args = cli.flag_values("workdir", "output")

    from vae_jax.composer import stage
    from vae_jax.representations import arrays
    from vae_jax.training import exported
    from vae_jax.training.experiment import load_experiment
    from vae_jax.training.run_dir import RunFolder

    notes = files.read_text(pathlib.Path(args.notes)) if args.notes else ""
    run, target = load_experiment(args.workdir), RunFolder(files.expand_home(args.output))
    contents = {target.config: run.experiment.raw, target.calibration: run.calibration}
    parts, steps = {"model": run.variables}, {"model": run.step}
    if "composer" in run.experiment.raw:
        composer = stage.load_composer(run)
        parts["composer"], steps["composer"] = composer.variables, composer.num_updates
        kept = arrays.subsample_rows(len(composer.conditions), _MAX_PIECES)
        composer = dataclasses.replace(composer, conditions=[composer.conditions[n] for n in kept])
        contents[target.composer.pieces] = composer.pack_known()
    hashes = {part: exported.hash_variables(variables) for part, variables in parts.items()}
    description: Json = {**run.description, "steps": steps, "sha256": hashes}
    exported.write(target, parts, contents | {target.run: description}, _make_card(run, description, notes))
    print(f"exported into {args.output}: {target.parameters.stat().st_size / 1e6:.1f} MB of parameters")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "Folder of a trained run.")
    flags.DEFINE_string("output", "", "A new folder.")
    flags.DEFINE_string("notes", "", "A text for the folder's README.md, such as the licences of the corpora.")
    cli.run(main)
