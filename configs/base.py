"""The fields that all configs share: the corpus, its split, training and sampling.

This is no config of its own. docs/configuration.md describes every field; each can be overridden by
--config.section.field=value.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the shared fields."""
    config = ConfigDict()
    config.name = ""
    config.seed = 0
    config.init_from = "none"  # The run that the first stage starts from: a folder; "pretrained", the shipped one.

    config.data = ConfigDict()
    # A file, a folder or a zip; "chorales", "quartets", "madrigals" or "synthetic"; several with commas between
    # them; empty for the national anthems.
    config.data.path = ""
    config.data.exclude = ""  # The same: a corpus whose tunes are left out.
    config.data.orchestrate = False  # Give the voices of pieces to other ensembles, at random.
    config.data.shards = ""  # A folder that `python -m vae_jax.ingest --shards=` wrote, in place of `path`.
    config.data.num_evaluated_train = 200  # Training pieces of shards that are evaluated, plotted and composed from.
    config.data.url = "https://garcia-nacho.github.io/images/NationalAnthems.zip"
    config.data.allow_chorales = True  # Without a network: warn and train on the Bach chorales, or stop.
    config.data.num_synthetic = 135
    config.data.synthetic_seed = 0
    config.data.num_held_out = 13
    config.data.split_by = "tune"  # Keeps files of one tune together; "file" does not.
    config.data.split_seed = 0
    config.data.num_folds = 0  # Above zero: cross-validation, a run for each of so many disjoint folds.
    config.data.fold = -1  # The one fold that is run; -1 for all of them.

    config.train = ConfigDict()
    config.train.min_steps = 0  # An epoch of a small corpus has several passes, so that a run has so many updates.
    config.train.eval_every_epochs = 1
    config.train.keep_checkpoints = 2
    config.train.average_decay = 0.0  # Above zero: evaluate a moving average of the parameters.

    config.sample = ConfigDict()
    config.sample.num = 8
    config.sample.seed = 0
    return config
