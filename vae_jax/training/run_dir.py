"""A run's folder: its layout, its description, and the check that it belongs to the run that is started in it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import pathlib
import platform
import subprocess
from collections.abc import Collection, Iterator, Mapping

from vae_jax.data.corpus import Corpus
from vae_jax.data.splits import Split
from vae_jax.runtime import files, lock, sharding
from vae_jax.runtime.config import Fields
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import Json
from vae_jax.runtime.text import quantity
from vae_jax.training import folds

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "mido", "numpy")
# The corpus is compared by its fingerprint, because another path may lead to the same files.
# And so are the parameters to start from.
_FIELDS_NOT_COMPARED = (
    *("data.path", "data.exclude", "data.shards", "data.url", "data.allow_chorales"),
    *("init_from", "composer.init_from"),
)
_MAX_NAMED = 5000  # Training files in `run.json`.
_HASH_DIGITS = 16  # Of the sha256 of a file there.


class _Place:
    """A path below a folder, read as an attribute of it."""

    def __init__(self, name: str):
        self._name = name

    def __get__(self, folder: RunFolder, owner: type[RunFolder]) -> pathlib.Path:
        return folder.path / self._name


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The layout of a run's folder, the same for every config; each attribute is a path below `path`."""

    path: pathlib.Path

    config = _Place("config.json")  # The resolved config.
    run = _Place("run.json")  # Versions, device, git commit, seed, corpus and split.
    ingest = _Place("ingest.json")  # What became of every file of the corpus.
    checkpoints = _Place("checkpoints")  # One folder a step.
    metrics_lines = _Place("metrics.jsonl")  # One line a logged step.
    tensorboard = _Place("tensorboard")  # The same as events.
    calibration = _Place("calibration.json")  # What decoding needs beside the model, tuned on training examples.
    metrics = _Place("metrics.json")  # The final evaluation.
    timing = _Place("timing.json")  # How long the main job took.
    latents = _Place("latents.npz")  # The posterior of every example of the corpus.
    plots = _Place("plots")
    reconstructions = _Place("reconstructions")  # Originals and reconstructions as MIDI and pictures.
    training_reconstructions = _Place("reconstructions/training")  # The same of training pieces, MIDI alone.
    samples = _Place("samples")  # Decoded samples of the prior as MIDI and pictures.
    compositions = _Place("compositions")  # Generated pieces as MIDI and pictures.
    report = _Place("report.html")  # All of it on one page.
    pieces = _Place("pieces.json")  # In the composer's folder: what is known of the training pieces.
    # Of an exported run only:
    parameters = _Place("parameters.npz")
    card = _Place("README.md")
    manifest = _Place("manifest.json")  # The hash of every file.

    def fold(self, number: int) -> RunFolder:
        """The folder of one fold's run, in that of a cross-validation."""
        return RunFolder(self.path / f"fold_{number}")

    @property
    def is_finished(self) -> bool:
        """Whether the main job has come to its end here."""
        return all(path.exists() for path in (self.metrics, self.timing, self.report))  # The order of writing.

    @property
    def composer(self) -> RunFolder:
        """The folder of the second stage: its checkpoints, `metrics.jsonl` and TensorBoard events."""
        return RunFolder(self.path / "composer")


def default_workdir(config: Fields) -> str:
    """Returns the folder of a run for which none was given. Raises UserError where the config's name is not that of a
    folder in `runs`."""
    if files.safe_name(config["name"]) != config["name"]:
        raise UserError(
            f"config.name must consist of letters, digits, dots, dashes and underscores, got {config['name']!r}"
        )
    return str(pathlib.Path("runs", config["name"]))


def open_run(
    workdir: str, config: Fields, corpus: Corpus, split: Split, start: Mapping[str, Mapping[str, str]] | None = None
) -> RunFolder:
    """Makes a run's folder, or opens one that holds the same run, and locks it until the process ends. `start`
    describes what the parameters of each stage start from. Raises UserError where the folder holds something else or
    another process is running in it; nothing in it is changed."""
    folder = RunFolder(files.expand_home(workdir))
    resolved = json.loads(json.dumps(config))
    described = describe_run(resolved, corpus, split) | {"init_from": dict(start or {})}
    try:
        if folder.path.exists() and not folder.path.is_dir():
            raise UserError(f"{workdir}: a file, not a folder; give another --workdir")
        _check_same_run(folder, resolved, described)
        if sharding.is_main_process():
            lock.hold(folder.path)
    except OSError as error:
        raise UserError(f"{workdir}: cannot be used as a run's folder ({error.strerror})") from error
    if sharding.is_main_process():
        files.remove_leftovers(folder.path)
        _check_same_run(folder, resolved, described)  # Another process may have started a run since.
        files.mark_output(folder.path)
        if not folder.config.exists():
            files.write_json(folder.run, described)
            files.write_json(folder.config, resolved)  # Last: a folder with a config holds a run.
    sharding.barrier("folder opened")
    return folder


def load_run(workdir: str, *, allow_folds: bool = False) -> tuple[RunFolder, Json, Json]:
    """Returns the folder, config and description of a run that was started. Raises UserError where the folder holds no
    run or, unless these are allowed, the runs of several folds."""
    folder = RunFolder(files.expand_home(workdir))
    if not folder.config.is_file():
        raise UserError(f"{workdir}: no run here (no config.json); give the --workdir of a run")
    config, description = files.read_json(folder.config), files.read_json(folder.run)
    if not (isinstance(config, dict) and isinstance(description, dict)):
        raise UserError(f"{workdir}: a damaged run (config.json or run.json)")
    if not allow_folds and folds.is_folded(config):
        raise UserError(f"{workdir} holds a run for each fold; give one of them, such as {folder.fold(0).path}")
    return folder, config, description


def describe_run(config: Fields, corpus: Corpus, split: Split) -> Json:
    """Describes a run for `run.json`: what it runs on and with, and which files it trains on and holds out."""
    return {
        "run_id": files.hash_json([_compared_fields(config), corpus.fingerprint])[:12],
        "seed": config["seed"],
        "corpus": {"name": corpus.name, "fingerprint": corpus.fingerprint, "pieces": corpus.num_pieces},
        "split": _describe_split(corpus, split),
        "device": sharding.describe(),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "git_commit": _git_commit(),
    }


def _describe_split(corpus: Corpus, split: Split) -> Json:
    """Names the files of both subsets; of a large corpus the held-out ones alone."""
    training = corpus.training_paths(split)
    held_out = [corpus.pieces[n].path for n in split.held_out]
    if len(training) <= _MAX_NAMED:
        hashes = hash_pieces(corpus, training)
        return {"train": training, "held_out": held_out, "train_sha256": hashes}
    described = "every file in shards.json that is not refused, but split.held_out"
    return {"train": [], "held_out": held_out, "num_train": len(training), "train_is": described}


def hash_pieces(corpus: Corpus, paths: Collection[str]) -> list[str]:
    """Returns the first digits of the sha256 of the files of pieces in memory, as `run.json` has those of training."""
    known = {file.path: file.sha256 for file in corpus.files}
    return [known[path][:_HASH_DIGITS] for path in paths if path in known]


def _check_same_run(folder: RunFolder, config: Json, described: Json) -> None:
    """Raises UserError where a folder holds another run, or something that is no run."""
    if not folder.config.exists():
        names = [path.name for path in folder.path.iterdir()] if folder.path.exists() else []
        known = {folder.run.name, *(folder.fold(n).path.name for n in range(len(folds.fold_configs(config))))}
        if any(name not in known and not name.startswith(".") for name in names):
            raise UserError(f"{folder.path}: not empty and not a run's folder; give another --workdir")
        return
    there, here = _compared_fields(files.read_json(folder.config)), _compared_fields(config)
    differing = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
    if differing:
        listed = "; ".join(
            f"config.{name} is {there.get(name)!r} there and {here.get(name)!r} here" for name in differing
        )
        raise UserError(f"{folder.path} holds another run ({listed}); give another --workdir")
    saved = files.read_json(folder.run)
    if saved.get("init_from", {}) != described["init_from"]:
        raise UserError(f"{folder.path} holds a run that started from other parameters; give another --workdir")
    other, mine = saved["corpus"], described["corpus"]
    if other["fingerprint"] != mine["fingerprint"]:
        raise UserError(
            f"{folder.path} holds a run on another corpus ({other['name']}, {quantity(other['pieces'], 'piece')} "
            f"there; {mine['name']}, {quantity(mine['pieces'], 'piece')} here); give another --workdir"
        )


def _compared_fields(config: Fields) -> Json:
    fields = {name: value for name, value in _flatten(config) if name not in _FIELDS_NOT_COMPARED}
    if not fields.get("data.num_folds"):
        fields.pop("data.fold", None)  # It means nothing then.
    return fields


def _flatten(config: Fields, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _git_commit() -> str | None:
    """The commit of the code where it runs from a checkout."""
    command = ["git", "-C", str(pathlib.Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
