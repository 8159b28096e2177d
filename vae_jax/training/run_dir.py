"""A run's folder: where everything of a run lies, and the check that it belongs to the run started in it."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from vae_jax.data.corpus import Corpus, Split
from vae_jax.runtime import files, lock, sharding
from vae_jax.runtime.errors import UserError

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "mido", "numpy")
# The same files may be reached by another path: the corpus is compared by its fingerprint.
# What a run does about a NaN may be decided when there is one.
_FIELDS_NOT_COMPARED = (
    *("data.path", "data.shards", "data.url", "data.allow_synthetic"),
    *("train.on_nan", "composer.train.on_nan"),
)
_MAX_NAMED = 5000  # Training files in `run.json`.


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The layout of a run's folder, the same for every config."""

    path: pathlib.Path

    @property
    def config(self) -> pathlib.Path:
        """The resolved config."""
        return self.path / "config.json"

    @property
    def run(self) -> pathlib.Path:
        """Versions, device, git commit, seed, corpus and split."""
        return self.path / "run.json"

    @property
    def checkpoints(self) -> pathlib.Path:
        """Folder of checkpoints, one subfolder a step."""
        return self.path / "checkpoints"

    @property
    def metrics_lines(self) -> pathlib.Path:
        """One line of JSON a logged step."""
        return self.path / "metrics.jsonl"

    @property
    def retries(self) -> pathlib.Path:
        """From which steps on the learning rate was lowered, and why."""
        return self.path / "retries.json"

    @property
    def metrics(self) -> pathlib.Path:
        """The final evaluation."""
        return self.path / "metrics.json"

    @property
    def calibration(self) -> pathlib.Path:
        """What decoding needs beside the model, tuned on training examples."""
        return self.path / "calibration.json"

    @property
    def latents(self) -> pathlib.Path:
        """The posterior of every example of the corpus."""
        return self.path / "latents.npz"

    @property
    def attributes(self) -> pathlib.Path:
        """Directions in latent space that change attributes of the music."""
        return self.path / "attributes.npz"

    @property
    def ingest(self) -> pathlib.Path:
        """The ingest report of the corpus."""
        return self.path / "ingest.json"

    @property
    def tensorboard(self) -> pathlib.Path:
        """Folder of TensorBoard events."""
        return self.path / "tensorboard"

    @property
    def composer(self) -> RunFolder:
        """The second stage: its own checkpoints, `metrics.jsonl` and TensorBoard events."""
        return RunFolder(self.path / "composer")

    @property
    def compositions(self) -> pathlib.Path:
        """Folder of composed pieces as MIDI and pictures."""
        return self.path / "compositions"

    @property
    def plots(self) -> pathlib.Path:
        """Folder of pictures."""
        return self.path / "plots"

    @property
    def reconstructions(self) -> pathlib.Path:
        """Folder of originals and reconstructions as MIDI and pictures."""
        return self.path / "reconstructions"

    @property
    def training_reconstructions(self) -> pathlib.Path:
        """Folder of the same for training pieces, MIDI alone."""
        return self.reconstructions / "training"

    @property
    def samples(self) -> pathlib.Path:
        """Folder of new music as MIDI and pictures."""
        return self.path / "samples"

    @property
    def timing(self) -> pathlib.Path:
        """How long the main job took."""
        return self.path / "timing.json"

    @property
    def report(self) -> pathlib.Path:
        """All of it on one page."""
        return self.path / "report.html"


def default_workdir(config: Mapping[str, Any]) -> str:
    """Returns the folder of a run that was given none.

    Raises:
      UserError: where the config's name is not that of a folder in `runs`.
    """
    if files.safe_name(config["name"]) != config["name"]:
        raise UserError(
            f"config.name must consist of letters, digits, dots, dashes and underscores, got {config['name']!r}"
        )
    return str(pathlib.Path("runs", config["name"]))


def open_run(workdir: str, config: Mapping[str, Any], corpus: Corpus, split: Split) -> RunFolder:
    """Makes a run's folder, or takes one that holds the same run, and locks it until the process ends.

    Raises:
      UserError: where the folder holds something else or another process is running in it; nothing in it is changed.
    """
    folder = RunFolder(pathlib.Path(workdir).expanduser())
    resolved = json.loads(json.dumps(config))
    described = describe_run(resolved, corpus, split)
    try:
        if folder.path.exists() and not folder.path.is_dir():
            raise UserError(f"{workdir}: a file, not a folder; give another --workdir")
        if not folder.config.exists():
            _refuse_strangers(folder)
        else:
            _refuse_other_run(folder, resolved, described)
        if sharding.is_main_process():
            lock.hold(folder.path)
    except OSError as error:
        raise UserError(f"{workdir}: cannot be used as a run's folder ({error.strerror})") from error
    if sharding.is_main_process():
        files.remove_leftovers(folder.path)
        if folder.config.exists():
            _refuse_other_run(folder, resolved, described)  # It may have been made since.
        else:
            files.write_json(folder.run, described)
            files.write_json(folder.config, resolved)  # Last: a folder with a config holds a run.
    sharding.barrier("folder opened")
    return folder


def load_run(workdir: str) -> tuple[RunFolder, dict[str, Any], dict[str, Any]]:
    """Returns the folder, config and description of a run that was started.

    Raises:
      UserError: where the folder holds no run.
    """
    folder = RunFolder(pathlib.Path(workdir).expanduser())
    if not folder.config.is_file():
        raise UserError(f"{workdir}: no run here (no config.json); give the --workdir of a run")
    config, description = files.read_json(folder.config), files.read_json(folder.run)
    if not (isinstance(config, dict) and isinstance(description, dict)):
        raise UserError(f"{workdir}: a damaged run (config.json or run.json)")
    return folder, config, description


def describe_run(config: Mapping[str, Any], corpus: Corpus, split: Split) -> dict[str, Any]:
    """Describes a run for `run.json`: what it runs on and with, and which files it trains on and holds out."""
    identity = json.dumps([_compared(config), corpus.fingerprint], sort_keys=True)
    return {
        "run_id": hashlib.sha256(identity.encode()).hexdigest()[:12],
        "seed": config["seed"],
        "corpus": {"name": corpus.name, "fingerprint": corpus.fingerprint, "pieces": corpus.num_pieces},
        "split": _describe_split(corpus, split),
        "device": dict(sharding.describe()),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "git_commit": _git_commit(),
    }


def _describe_split(corpus: Corpus, split: Split) -> dict[str, Any]:
    """Names the files of both parts; of a huge corpus those that are held out, and who the others are."""
    training = corpus.training_paths(split)
    described: dict[str, Any] = {
        "train": training,
        "held_out": [corpus.pieces[n].path for n in split.held_out],
    }
    if len(training) > _MAX_NAMED:
        described |= {
            "train": [],
            "num_train": len(training),
            "train_is": "every file of the shards that ingest.json does not call refused, but split.held_out",
        }
    return described


def _refuse_strangers(folder: RunFolder) -> None:
    strangers = [path.name for path in folder.path.iterdir()] if folder.path.exists() else []
    if [name for name in strangers if name != folder.run.name and not name.startswith(".")]:
        raise UserError(f"{folder.path}: not empty and not a run's folder; give another --workdir")


def _refuse_other_run(folder: RunFolder, config: dict[str, Any], described: dict[str, Any]) -> None:
    there, here = _compared(files.read_json(folder.config)), _compared(config)
    differing = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
    if differing:
        shown = "; ".join(
            f"config.{name} is {there.get(name)!r} there and {here.get(name)!r} here" for name in differing
        )
        raise UserError(f"{folder.path} holds another run ({shown}); give another --workdir")
    other = files.read_json(folder.run)["corpus"]
    if other["fingerprint"] != described["corpus"]["fingerprint"]:
        raise UserError(
            f"{folder.path} holds a run on another corpus ({other['name']}, {other['pieces']} pieces there; "
            f"{described['corpus']['name']}, {described['corpus']['pieces']} pieces here); give another --workdir"
        )


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
    flat = dict(_flatten(config))
    return {name: value for name, value in flat.items() if name not in _FIELDS_NOT_COMPARED}


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Sequence[tuple[str, Any]]:
    fields: list[tuple[str, Any]] = []
    for name, value in config.items():
        if isinstance(value, Mapping):
            fields.extend(_flatten(value, f"{prefix}{name}."))
        else:
            fields.append((f"{prefix}{name}", value))
    return fields


def _git_commit() -> str | None:
    """The commit of the code where it runs from a checkout."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=pathlib.Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
