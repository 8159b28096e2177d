"""The corpus of a run, in memory or in shards."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from vae_jax.data import corpus, splits
from vae_jax.data.corpus import Corpus
from vae_jax.data.shards import format, reader
from vae_jax.data.shards.dataset import ShardExamples
from vae_jax.data.shards.reader import Shards
from vae_jax.data.splits import Split
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.base import Representation
from vae_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class ShardCorpus(Corpus):
    """A corpus in shards; all held-out pieces and some training pieces are in memory.

    Attributes:
      shards: all pieces.
      whole_split: the split of all pieces.
    """

    shards: Shards
    whole_split: Split

    def training_paths(self, split: Split) -> list[str]:
        """Paths of all training pieces."""
        return [self.shards.rows[n].path for n in self.whole_split.train]

    def training_examples(self, representation: Representation, split: Split) -> ShardExamples:
        """The stored examples of all training pieces."""
        return ShardExamples(self.shards, self.whole_split.train)


def find_split(data: Mapping[str, Any], representation: Mapping[str, Any], path: str = "") -> tuple[Corpus, Split]:
    """Finds the corpus that a config describes, or the one at another path, and splits it.

    Args:
      data: the config's `data` section.
      representation: the config's `representation` section, with which shards must have been written.
      path: a folder of shards, of MIDI files or a zip in place of the config's; empty for the config's.

    Returns:
      The corpus and the split of its pieces in memory.

    Raises:
      UserError: if there is no such corpus, or it is in shards of another representation.
    """
    folder = data["shards"]
    if path and reader.is_shards(path):
        folder = path
    elif path and folder:
        raise UserError(f"{path}: no shards here, and the run was trained from shards; give their folder by --path")
    if not folder:
        return corpus.find_split(data, path)
    shards = reader.open_shards(folder)
    format.check_representation(pathlib.Path(folder), shards.manifest["representation"], representation)
    whole = splits.split_by_config(shards.tune_groups, data)
    if not whole.train:
        raise UserError("the corpus leaves nothing to train on")
    evaluated = arrays_lib.spread_rows(len(whole.train), data["num_evaluated_train"]).tolist()
    index = tuple(sorted([*(whole.train[n] for n in evaluated), *whole.held_out]))
    held_out = tuple(n for n, piece in enumerate(index) if piece in set(whole.held_out))
    split = Split(tuple(sorted(set(range(len(index))) - set(held_out))), held_out)
    return (
        ShardCorpus(
            shards.manifest["corpus"],
            shards.load(index),
            tuple(shards.tune_groups[n] for n in index),
            len(shards.rows),
            shards.manifest["fingerprint"],
            shards.manifest["totals"],
            shards,
            whole,
        ),
        split,
    )
