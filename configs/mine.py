"""A few songs of your own: the shipped parameters, adapted to them.

python run.py --config=configs/mine.py --config.data.path=FOLDER

For 3 to 20 songs, in about three minutes on two CPU cores; docs/pretraining.md has the figures.
"""

from ml_collections import ConfigDict

from configs import anthems


def get_config() -> ConfigDict:
    """Returns the config."""
    config = anthems.get_config()
    config.name = "mine"
    config.init_from = "pretrained"
    config.data.split_seed = 0
    config.data.num_held_out = 1
    config.data.allow_chorales = False
    config.train.num_epochs = 4
    config.train.min_steps = 300
    config.train.keep_best = True  # By the held-out song, from the shipped parameters on.
    config.train.checkpoint_every_epochs = 1
    config.optimizer.learning_rate = 1e-3
    config.composer.num_scored = 8
    config.composer.dropped_lines_copies = 4  # More of them overfit later.
    config.composer.optimizer.learning_rate = 1.5e-3
    config.composer.optimizer.warmup_steps = 10
    config.composer.train.num_epochs = 4
    config.composer.train.min_steps = 60
    config.composer.train.checkpoint_every_epochs = 1
    config.composer.train.keep_best = True
    return config
