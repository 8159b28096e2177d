"""What a config describes: representation, model, trainable, dataset; and the same of a run's folder."""

import dataclasses
import sys
from typing import Any

import jax

from vae_jax.data.corpus import Corpus
from vae_jax.data.dataset import Dataset
from vae_jax.data.shards import corpus_view
from vae_jax.data.splits import Split
from vae_jax.models.base import VAE, Variables
from vae_jax.models.factory import make_model
from vae_jax.models.inference import Inference
from vae_jax.representations import arrays
from vae_jax.representations.base import AnyRepresentation, B, Calibration
from vae_jax.representations.factory import make_representation
from vae_jax.runtime import config, files, sharding
from vae_jax.runtime.config import Fields
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.text import quantity
from vae_jax.training import checkpointing, exported, run_dir, step
from vae_jax.training.config import OptimizerConfig, TrainConfig
from vae_jax.training.run_dir import RunFolder
from vae_jax.training.trainable import Trainable
from vae_jax.training.vae import TrainableVAE

# Fields of the representation and the model that need not be those of the run that training starts from.
_ADAPTED = frozenset(
    ["num_onset_cells", "num_drum_cells", "num_durations", "prior_weight", "crop_beats", "training_hop_beats"]
)


@dataclasses.dataclass(frozen=True)
class LossConfig(config.Section):
    """The loss: distortion + kl_weight * KL in nats.

    The post writes 0.5 times a mean over its two latents of twice the KL of each, which is 0.5 times the KL in nats;
    with another number of latents its line would weigh the KL by 1 / latents.
    """

    kl_weight: float = config.number(at_least=0, default=0.5)


@dataclasses.dataclass(frozen=True)
class SampleConfig(config.Section):
    """How many samples and compositions a run writes, and their seed."""

    num: int = config.number(at_least=0, default=8)
    seed: int = config.number(at_least=0, default=0)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The parts that a config describes."""

    name: str  # Of the config.
    seed: int  # Of the initial parameters, training and evaluation.
    raw: Fields  # The resolved config, as `config.json` holds it.
    representation: AnyRepresentation  # Score to examples and back.
    model: VAE  # The network with its likelihood.
    trainable: TrainableVAE[Any]  # The first stage.
    train: TrainConfig  # Its training loop.
    sample: SampleConfig  # What is sampled from it.

    def key(self) -> jax.Array:
        """The key of the first stage."""
        return jax.random.key(self.seed)

    def make_dataset(self, corpus: Corpus, split: Split) -> Dataset[Any]:
        """Encodes a corpus: the training examples, unless they are in shards, and the held-out ones if there are any.
        Raises UserError where nothing is left to train on."""
        if not split.train:
            raise UserError("the corpus leaves nothing to train on")
        held_out = [self.representation.encode_training(corpus.pieces[n].score) for n in split.held_out]
        examples = corpus.training_examples(self.representation, split)
        return Dataset(examples, arrays.concatenate(held_out) if held_out else None)


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A run's folder with what is in it: the experiment, its description and the model of a checkpoint."""

    folder: RunFolder
    experiment: Experiment
    description: Fields
    variables: Variables
    calibration: Calibration
    step: int

    def inference(self) -> Inference:
        """The trained model as functions of scores and latents."""
        return Inference(self.experiment.model, self.experiment.representation, self.variables, self.calibration)

    def describe(self) -> dict[str, str]:
        """What `run.json` says of a run that starts from this one."""
        sha256 = exported.hash_variables(self.variables)
        return {"config": self.experiment.name, "run_id": self.description["run_id"], "sha256": sha256}

    def load_corpus(self, path: str = "") -> tuple[Corpus, Split]:
        """Loads the corpus that the run was made on, from another path where one is given, and its split. Raises
        UserError where there is no corpus, or it is another one."""
        raw, known = self.experiment.raw, self.description["corpus"]
        source, split = corpus_view.find_split(raw["data"], raw["representation"], path, flag="--path")
        if source.fingerprint != known["fingerprint"]:
            raise UserError(
                f"the run was made on another corpus ({known['name']}, {quantity(known['pieces'], 'piece')}) than the "
                f"one found ({source.name}, {quantity(source.num_pieces, 'piece')}); give it by --path"
            )
        return source, split


def build_experiment(raw: Fields) -> Experiment:
    """Builds the parts that a config describes. Raises UserError where a section lacks a field, has an unknown one or a
    value outside its range; names it."""
    for section in ("representation", "model", "loss", "optimizer", "train", "sample"):
        if section not in raw:
            raise UserError(f"config.{section} is missing")
    top = config.make_section(_Top, {key: raw[key] for key in ("name", "seed") if key in raw}, "config")
    representation = make_representation(raw["representation"])
    model = make_model(raw["model"], raw["representation"], representation.example_shape)
    augmentation = raw.get("augment", {})
    representation.make_augmentation(augmentation)  # Refuses unknown fields.
    trainable = TrainableVAE[Any](
        model=model,
        representation=representation,
        kl_weight=config.make_section(LossConfig, raw["loss"], "config.loss").kl_weight,
        augmentation=augmentation,
        optimizer_config=config.make_section(OptimizerConfig, raw["optimizer"], "config.optimizer"),
        seed=top.seed,
    )
    return Experiment(
        name=top.name,
        seed=top.seed,
        raw=raw,
        representation=representation,
        model=model,
        trainable=trainable,
        train=config.make_section(TrainConfig, raw["train"], "config.train"),
        sample=config.make_section(SampleConfig, raw["sample"], "config.sample"),
    )


def load_experiment(workdir: str) -> TrainedRun:
    """Builds the experiment of a run's folder and restores its newest whole checkpoint, or its exported parameters.
    Raises UserError where there is no run, or no checkpoint yet."""
    folder, raw, description = load_folder(workdir)
    experiment = build_experiment(raw)
    variables, num_updates = restore(folder, "model", experiment.trainable, experiment.train, experiment.key())
    calibration = experiment.representation.default_calibration()
    if folder.calibration.exists():
        calibration = files.read_json(folder.calibration)
    return TrainedRun(folder, experiment, description, variables, calibration, num_updates)


def load_folder(workdir: str) -> tuple[RunFolder, Fields, Fields]:
    """Returns the folder, config and description of a run, or of an exported one that is as it was written. Raises
    UserError as `load_experiment`."""
    path = exported.find(workdir)
    if exported.is_exported(folder := RunFolder(files.expand_home(path))):
        exported.verify(folder)
    return run_dir.load_run(path)


def restore(
    folder: RunFolder, part: str, trainable: Trainable[B], train: TrainConfig, key: jax.Array
) -> tuple[Variables, int]:
    """Returns the variables of a stage, `part` of the folder's run, and the number of updates. Raises UserError as
    `load_experiment`."""
    abstract = step.abstract_state(trainable, train.average_decay, key)
    if exported.is_exported(folder):
        return exported.read(folder, part, abstract.trained_variables), files.read_json(folder.run)["steps"][part]
    place = folder if part == "model" else folder.composer
    restored = checkpointing.restore(place.checkpoints, abstract, best=train.keep_best)
    if restored is None:
        raise UserError(f"{folder.path}: the {part} has no checkpoint yet; let run.py finish")
    return sharding.local(restored[0]).trained_variables, restored[1]


def load_start(path: str, corpus: Corpus, split: Split) -> TrainedRun | None:
    """Loads the run that an `init_from` names; None for none, and with a warning where that run was trained on pieces
    that are held out now. Raises UserError where there is no such run."""
    if path in ("", exported.NOTHING):
        return None
    start = load_experiment(path)
    held_out = run_dir.hash_pieces(corpus, [corpus.pieces[n].path for n in split.held_out])
    if seen := set(held_out) & set(start.description["split"].get("train_sha256", [])):
        print(
            f"warning: {path} was trained on {len(seen)} of the pieces that are held out; training starts from nothing",
            file=sys.stderr,
        )
        return None
    return start


def load_starts(experiment: Experiment, corpus: Corpus, split: Split) -> dict[str, TrainedRun]:
    """Loads the runs that the stages of a config start from, "model" and "composer", those that do. Raises UserError as
    `load_start` and `check_start`."""
    sections = {"model": experiment.raw, "composer": experiment.raw.get("composer", {})}
    paths = {part: section.get("init_from", exported.NOTHING) for part, section in sections.items()}
    loaded = {path: load_start(path, corpus, split) for path in sorted({*paths.values()})}
    starts = {part: one for part, path in paths.items() if (one := loaded[path]) is not None}
    if "model" in starts:
        check_start(starts["model"], experiment)
    return starts


def check_start(start: TrainedRun, experiment: Experiment) -> None:
    """Raises UserError where the first stage of a run cannot start from that of another one."""
    for section in ("representation", "model"):
        there, here = start.experiment.raw[section], experiment.raw[section]
        names = sorted({*there, *here} - _ADAPTED)
        differing = [name for name in names if there.get(name) != here.get(name)]
        if differing:
            name = differing[0]
            raise UserError(
                f"config.init_from={start.folder.path}: its {section}.{name} is {there.get(name)!r}, the config's "
                f"{here.get(name)!r}; parameters can start a model of the same shape only"
            )


@dataclasses.dataclass(frozen=True)
class _Top(config.Section):
    """The fields of a config that are in no section."""

    name: str
    seed: int = config.number(at_least=0)
