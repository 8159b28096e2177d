"""What a window of so many latents can hold: onsets of all pitched parts merged, no instruments, no drums.

    python run.py --config=configs/merged.py --config.model.latent_dim=128 --workdir=runs/merged_128

About three minutes on two CPU cores at 128 latents. The rate-distortion table of docs/results.md comes from this config
with 16, 64, 128 and 256 latents.
"""

from ml_collections import ConfigDict

from configs import anthems


def get_config() -> ConfigDict:
    """Returns the flagship's config without parts."""
    config = anthems.get_config()
    config.name = "merged"
    del config["composer"]  # It needs the parts.
    config.model.with_parts = False
    config.model.latent_dim = 128
    config.model.num_iterations = 8
    config.model.prior_weight = 0.02
    config.loss.kl_weight = 0.02
    config.train.batch_size = 128
    config.train.num_epochs = 15
    return config
