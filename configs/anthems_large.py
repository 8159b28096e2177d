"""The flagship with more of everything, for one GPU. Not yet measured: no GPU could be had so far.

    python run.py --config=configs/anthems_large.py

Meant for at most an hour on one GPU. The goals: 0.95 on the grid at 128 latents per two bars
(--config.model.latent_dim=128), 0.90 with instruments.
"""

from ml_collections import ConfigDict

from configs import anthems


def get_config() -> ConfigDict:
    """Returns the flagship's config made larger."""
    config = anthems.get_config()
    config.name = "anthems_large"
    config.model.latent_dim = 512
    config.model.num_onset_cells = 5120
    config.model.num_drum_cells = 1024
    config.model.num_iterations = 10
    config.train.batch_size = 256
    config.train.num_epochs = 400
    config.train.eval_every_epochs = 10
    config.train.checkpoint_every_epochs = 20
    return config
