"""The flagship, larger, for one GPU: more of a beat is modelled, in larger batches for longer than configs/anthems.py.

python run.py --config=configs/anthems_gpu.py [--config.data.path=FOLDER]

Takes seven minutes on an H100 that others use too. Expected on held-out anthems: note F1 at 50 ms of 0.961, with
instruments 0.956, with note ends 0.913. The composer is the shipped one, adapted for longer: a wider one was hardly
better on five folds (docs/pretraining.md).
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
    config.train.min_steps = 3000

    config.composer.dropped_lines_copies = 4  # So that its four epochs are 556 updates.
    return config
