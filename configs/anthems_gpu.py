"""The flagship, larger, for one GPU: wider networks, larger batches, more updates than configs/anthems.py.

python run.py --config=configs/anthems_gpu.py [--config.data.path=FOLDER]

Meant to take about ten minutes; not measured on a GPU, neither its time nor its scores, which may be worse than those
of configs/anthems.py. Its composer has another shape than the shipped one, so it starts from nothing: 122 tunes are few
for it, and the held-out loss tells whether it overfits.
"""

from ml_collections import ConfigDict

from configs import anthems


def get_config() -> ConfigDict:
    """Returns the config."""
    config = anthems.get_config()
    config.name = "anthems_gpu"

    config.model.num_onset_cells = 900
    config.model.num_durations = 2400
    config.model.num_iterations = 12
    config.model.prior_hidden = 512
    config.train.batch_size = 32
    config.train.min_steps = 6000

    config.composer.init_from = "none"
    config.composer.channels = 384
    config.composer.dropout = 0.5
    config.composer.dropped_lines_copies = 4  # More examples, as a larger network overfits sooner.
    config.composer.train.batch_size = 32
    config.composer.train.min_steps = 1500
    return config
