"""The corpus of a run, in memory or in shards; of shards the pieces that are evaluated and shown, with their music."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from vae_jax.data import corpus
from vae_jax.data.corpus import Corpus, Split
from vae_jax.data.shards import reader, writer
from vae_jax.data.shards.dataset import ShardExamples
from vae_jax.data.shards.reader import Shards
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.base import B
from vae_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class ShownCorpus(Corpus):
    """The held-out pieces of shards and some of the training pieces, as a corpus that knows of the whole.

    Attributes:
      shards: all pieces.
      index: which of them these are, ascending.
      whole_split: the split of all pieces.
    """

    shards: Shards
    index: tuple[int, ...]
    whole_split: Split

    @property
    def tune_groups(self) -> tuple[int, ...]:
        """Of each piece here the tune, numbered as in the whole."""
        return tuple(self.shards.tune_groups[n] for n in self.index)

    @property
    def num_pieces(self) -> int:
        """That of the whole."""
        return len(self.shards.files)

    @property
    def fingerprint(self) -> str:
        """That of the whole."""
        return self.shards.fingerprint

    @property
    def whole_totals(self) -> Mapping[str, int]:
        """Those of the whole."""
        return self.shards.manifest["totals"]

    def training_paths(self, split: Split) -> list[str]:
        """Those of the whole."""
        return [self.shards.files[n].path for n in self.whole_split.train]

    def training_examples(self, example_type: type[B]) -> ShardExamples[B]:
        """The examples of all training pieces, shown or not."""
        return ShardExamples(self.shards, self.whole_split.train, example_type)


def find_split(data: Mapping[str, Any], representation: Mapping[str, Any], path: str = "") -> tuple[Corpus, Split]:
    """Finds the corpus that a config describes, or takes the one at another path, and splits it.

    Args:
      data: the config's `data` section.
      representation: the config's `representation` section, which shards have to be of.
      path: a folder of shards, of MIDI files or a zip in place of the config's; empty for the config's.

    Returns:
      The corpus and its split; of shards the pieces that are shown.

    Raises:
      UserError: where there is no such corpus, or shards of another representation.
    """
    folder = data.get("shards", "")
    if path and reader.is_shards(path):
        folder = path
    elif path and folder:
        raise UserError(f"{path}: no shards here, and the run was trained from shards; give their folder by --path")
    if not folder:
        return corpus.find_split(data, path)
    shards = reader.open_shards(folder)
    writer.refuse_other_representation(shards.folder, shards.manifest, representation)
    return _show(shards, data)


def _show(shards: Shards, data: Mapping[str, Any]) -> tuple[ShownCorpus, Split]:
    split = corpus.split_groups(
        shards.tune_groups,
        data["num_held_out"],
        data["split_seed"],
        data["split_by"],
        num_folds=data["num_folds"],
        fold=data["fold"],
    )
    if not split.train:
        raise UserError("the corpus leaves nothing to train on")
    training = [split.train[n] for n in arrays_lib.subsample_rows(len(split.train), data["num_shown"]).tolist()]
    index = tuple(sorted([*training, *split.held_out]))
    held_out = set(split.held_out)
    shown = ShownCorpus(shards.manifest["corpus"], shards.load(index), shards, index, split)
    return shown, Split(
        tuple(n for n, piece in enumerate(index) if piece not in held_out),
        tuple(n for n, piece in enumerate(index) if piece in held_out),
    )
