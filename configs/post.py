"""The 2019 experiment: the post's array, its model, its loss and its reparameterization.

python run.py --config=configs/post.py

Takes seven minutes on two recent CPU cores and 2.1 GB of memory. Expected: a training loss near 8, a held-out loss
between 9 and 10, a KL of 0.001 nats, and a note F1 of 0.003. docs/post.md explains the failure.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns the config."""
    config = base.get_config()
    config.name = "post"
    config.data.num_held_out = 10
    config.data.split_by = "file"

    config.representation = ConfigDict()
    config.representation.name = "note_matrix"
    config.representation.num_notes = 150
    config.representation.num_tracks = 9

    config.model = ConfigDict()
    config.model.name = "conv_vae"
    config.model.filters = 36
    config.model.hidden = 256
    config.model.latent_dim = 2
    config.model.reparameterization = "post"  # The post's own line; "standard" is the correct one.
    config.model.distortion = "msle"  # Or "mse".

    config.loss = ConfigDict()
    config.loss.kl_weight = 0.5

    config.optimizer = ConfigDict()
    config.optimizer.name = "rmsprop"
    config.optimizer.learning_rate = 1e-3

    config.train.batch_size = 10
    config.train.num_epochs = 100
    config.train.checkpoint_every_epochs = 20
    return config
