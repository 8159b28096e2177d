"""A quick check of the main job: a small model, a few epochs, a few pieces of the synthetic corpus.

python run.py --config=configs/smoke.py

Takes less than a minute on two CPU cores, without a network. Expected: every file of a run's folder, no useful scores.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns a config of the post's kind of model, small."""
    config = base.get_config()
    config.name = "smoke"
    config.data.path = "synthetic"
    config.data.num_synthetic = 16
    config.data.num_held_out = 4

    config.representation = ConfigDict()
    config.representation.name = "note_matrix"
    config.representation.num_notes = 150
    config.representation.num_tracks = 9

    config.model = ConfigDict()
    config.model.name = "conv_vae"
    config.model.filters = 4
    config.model.hidden = 32
    config.model.latent_dim = 2
    config.model.reparameterization = "post"
    config.model.distortion = "msle"

    config.loss = ConfigDict()
    config.loss.kl_weight = 0.5

    config.optimizer = ConfigDict()
    config.optimizer.name = "rmsprop"
    config.optimizer.learning_rate = 1e-3

    config.train.batch_size = 5  # 12 pieces: the last batch of an epoch is filled up.
    config.train.num_epochs = 6
    config.train.checkpoint_every_epochs = 2
    config.sample.num = 2
    return config
