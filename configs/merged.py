"""The flagship without parts, for rate and distortion: onsets of all pitched parts merged, no instruments, no drums.

    python run.py --config=configs/merged.py --config.model.latent_dim=128 --workdir=runs/merged_128

Takes three minutes on two CPU cores with 128 latents. Expected: note F1 of 0.92 on the grid for held-out tunes, where
PCA has 0.73. The rate-distortion table of docs/results.md has 16, 64, 128 and 256 latents.
"""

from ml_collections import ConfigDict

from configs import anthems


def get_config() -> ConfigDict:
    """Returns the flagship's config without parts."""
    config = anthems.get_config()
    config.name = "merged"
    del config["composer"]  # The composer needs the parts.
    config.model.with_parts = False
    config.model.latent_dim = 128
    config.model.num_iterations = 8
    config.model.prior_weight = 0.02
    config.loss.kl_weight = 0.02
    config.train.batch_size = 128
    config.train.num_epochs = 15
    return config
