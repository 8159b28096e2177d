"""The whole way of the main job in little: a small model, a few epochs, a few generated pieces.

    python run.py --config=configs/smoke.py

Under a minute on two CPU cores, without a network. It shows that everything works, not that anything is learnt.
"""

from ml_collections import ConfigDict

from configs import post


def get_config() -> ConfigDict:
    """Returns the post's config made small."""
    config = post.get_config()
    config.name = "smoke"
    config.data.path = "synthetic"
    config.data.num_synthetic = 16
    config.data.num_held_out = 4
    config.data.split_by = "tune"
    config.model.filters = 4
    config.model.hidden = 32
    config.train.batch_size = 5  # 12 pieces: the last batch of an epoch is filled up.
    config.train.num_epochs = 6
    config.train.checkpoint_every_epochs = 2
    config.sample.num = 2
    return config
