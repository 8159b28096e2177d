"""The config section of the corpus."""

import dataclasses

from vae_jax.data.download import ANTHEMS_URL
from vae_jax.runtime import config


@dataclasses.dataclass(frozen=True)
class DataConfig(config.Section):
    """Where the music comes from, and how it is split.

    Attributes:
      num_held_out: how many tunes (or files) are held out; at most half of them.
      split_by: "tune" keeps the files of one tune together; "file" does not, as in the post, and lets duplicates leak.
      num_folds: if above zero, cross-validation: so many disjoint folds of `num_held_out` tunes each, the first of
        which is the split without folds; all tunes where the corpus has fewer than the folds need.
      fold: the number of the fold that is held out; -1 for a run of each.
    """

    path: str = ""  # As in configs/base.py.
    exclude: str = ""  # Likewise: a corpus whose tunes are left out.
    orchestrate: bool = False  # Whether pieces are given to other ensembles.
    shards: str = ""  # A folder of shards, in place of `path`.
    num_evaluated_train: int = config.number(at_least=1, default=200)  # Training pieces of shards that are evaluated.
    url: str = ANTHEMS_URL  # Where the archive of the national anthems is published.
    allow_chorales: bool = True  # Whether the Bach chorales replace an archive that cannot be had.
    num_synthetic: int = config.number(at_least=1, default=135)  # Of the synthetic corpus.
    synthetic_seed: int = config.number(at_least=0, default=0)
    num_held_out: int = config.number(at_least=0, default=13)
    split_by: str = config.choice(("tune", "file"), default="tune")
    split_seed: int = config.number(at_least=0, default=0)  # Seed of the split.
    num_folds: int = config.number(at_least=0, default=0)
    fold: int = config.number(at_least=-1, default=-1)
