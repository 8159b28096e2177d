"""Both stages on public-domain music, from which other runs start: `python -m vae_jax.export` makes it small.

python run.py --config=configs/pretrain.py [--config.data.path=chorales,quartets,madrigals,open_hymnal.zip]

The voices are given to ensembles as anthems have them. Takes about an hour on two CPU cores; docs/pretraining.md has
the figures.
"""

from ml_collections import ConfigDict

from configs import anthems


def get_config() -> ConfigDict:
    """Returns the config."""
    config = anthems.get_config()
    config.name = "pretrain"
    config.data.path = "chorales,quartets,madrigals"  # Those that music21 ships; hymns beside them are worth having.
    config.data.orchestrate = True
    config.data.num_held_out = 20
    config.data.split_seed = 0
    config.train.num_epochs = 4
    config.train.min_steps = 4000
    config.optimizer.learning_rate = 2e-3
    config.composer.init_from = "none"
    config.composer.crop_hop = 448
    config.composer.dropout = 0.3
    config.composer.train.num_epochs = 6
    config.composer.train.min_steps = 2000
    return config
