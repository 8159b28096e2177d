"""The 2019 experiment, exactly: the post's array, its model, its loss, its own sampling line.

    python run.py --config=configs/post.py

Seven minutes on two recent CPU cores, 2.1 GB of memory. Expect a training loss near 8 and a held-out loss
near 9, a KL that falls to nothing, and a note F1 of 0.003: docs/post.md says why.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config; every field can be overridden as --config.section.field=value."""
    config = ConfigDict()
    config.name = "post"
    config.seed = 0

    config.data = ConfigDict()
    config.data.path = (
        ""  # A MIDI file, a folder or a zip; empty for the national anthems, "built-in" for the generated corpus.
    )
    config.data.shards = ""  # A folder that `python -m vae_jax.ingest --shards=` wrote, in place of `path`.
    config.data.num_evaluated_train = 200  # Training pieces of shards that are evaluated, plotted and composed from.
    config.data.url = "https://garcia-nacho.github.io/images/NationalAnthems.zip"
    config.data.allow_builtin = True  # Without a network: warn and train on the built-in corpus, or stop.
    config.data.num_builtin = 135
    config.data.builtin_seed = 0
    config.data.num_held_out = 10
    config.data.split_by = "file"  # As the post; "tune" keeps files of one tune together.
    config.data.split_seed = 0
    config.data.num_folds = 0  # Above zero: cross-validation; `fold` of so many is held out instead.
    config.data.fold = 0

    config.representation = ConfigDict()
    config.representation.name = "events"
    config.representation.num_notes = 150
    config.representation.num_tracks = 9

    config.model = ConfigDict()
    config.model.name = "post"
    config.model.filters = 36
    config.model.hidden = 256
    config.model.latent_dim = 2
    config.model.reparameterisation = "post"  # The post's own line; "standard" is the correct one.

    config.loss = ConfigDict()
    config.loss.reconstruction = "msle"  # Or "mse".
    config.loss.loss_factor = 1.0
    config.loss.reg_factor = 0.5

    config.optimizer = ConfigDict()
    config.optimizer.name = "rmsprop"
    config.optimizer.learning_rate = 1e-3

    config.train = ConfigDict()
    config.train.batch_size = 10
    config.train.num_epochs = 100
    config.train.min_steps = 0  # A small corpus is shown more often in an epoch, so that a run has so many updates.
    config.train.eval_every_epochs = 1
    config.train.checkpoint_every_epochs = 20
    config.train.keep_checkpoints = 2
    config.train.on_nan = "stop"  # "restore": go back to the last good checkpoint and on with half the learning rate.
    config.train.average_decay = 0.0  # Above zero: evaluate a moving average of the parameters.

    config.sample = ConfigDict()
    config.sample.num = 8
    config.sample.seed = 0
    return config
