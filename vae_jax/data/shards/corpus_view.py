"""The corpus of a run, in memory or in shards."""

import dataclasses
import pathlib

import numpy as np

from vae_jax.data import corpus, splits
from vae_jax.data.config import DataConfig
from vae_jax.data.corpus import Corpus
from vae_jax.data.shards import format, reader
from vae_jax.data.shards.reader import ShardExamples, Shards
from vae_jax.data.splits import Split
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.base import AnyRepresentation
from vae_jax.runtime import config
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import Json


@dataclasses.dataclass(frozen=True, eq=False)
class ShardCorpus(Corpus):
    """A corpus in shards, of which all held-out pieces and some training pieces are in memory."""

    shards: Shards  # All pieces.
    training_index: tuple[int, ...]  # Which of them are the training pieces.

    def training_paths(self, split: Split) -> list[str]:
        """Paths of all training pieces."""
        return [self.shards.rows[n].path for n in self.training_index]

    def training_examples(self, representation: AnyRepresentation, split: Split) -> ShardExamples:
        """The stored examples of all training pieces."""
        return ShardExamples(self.shards, self.training_index, representation.example_type)


def find_split(
    data: Json, representation: Json, path: str = "", *, flag: str = corpus.PATH_FLAG
) -> tuple[Corpus, Split]:
    """Finds the corpus of a config's `data` section, or at another path, and splits its pieces in memory. Raises
    UserError if there is no such corpus (it names the flag by which to give it), or it is in shards of another
    `representation` section."""
    section = config.make_section(DataConfig, data, "config.data")
    folder = path if path and reader.is_shards(path) else section.shards
    if not folder:
        found = corpus.find_sources(section, path, allow_chorales=section.allow_chorales, flag=flag)
        in_memory = corpus.read_sources(found, _excluded(section))
        if section.orchestrate:
            in_memory = corpus.orchestrate(in_memory, section.split_seed)
        return in_memory, splits.split_pieces(in_memory.tune_groups, section)
    if path and path != folder:
        raise UserError(f"{path}: no shards here, and the run was trained from shards; give their folder by --path")
    shards = reader.open_shards(folder)
    format.check_representation(pathlib.Path(folder), shards.manifest["representation"], representation)
    tune_groups = [row.tune for row in shards.rows]
    whole = splits.split_pieces(tune_groups, section)
    if not whole.train:
        raise UserError("the corpus leaves nothing to train on")
    evaluated = arrays_lib.subsample_rows(len(whole.train), section.num_evaluated_train)
    index = sorted([*np.array(whole.train)[evaluated].tolist(), *whole.held_out])
    view = ShardCorpus(
        name=shards.manifest["corpus"],
        files=shards.load(index),
        tune_groups=tuple(tune_groups[n] for n in index),
        num_pieces=len(shards.rows),
        fingerprint=shards.manifest["fingerprint"],
        totals=shards.manifest["totals"],
        shards=shards,
        training_index=whole.train,
    )
    return view, Split.of(np.isin(index, whole.held_out))


def _excluded(data: DataConfig) -> Corpus | None:
    """The corpus whose tunes a config leaves out."""
    if not data.exclude:
        return None
    found = corpus.find_sources(data, data.exclude, allow_chorales=False, flag="--config.data.exclude")
    return corpus.read_sources(found)
