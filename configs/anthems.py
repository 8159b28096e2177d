"""The flagship: a piano roll in parts, a VAE that reconstructs held-out anthems, and a composer of new pieces.

python run.py --config=configs/anthems.py

Takes seven to twelve minutes on two CPU cores, of which the first stage takes three. Expected on held-out
anthems: note F1 at 50 ms of 0.954, with instruments 0.947, with note ends 0.892, and 0.960 on the grid, where PCA with
as many components has 0.856 (docs/results.md). Expected of composed pieces: 34 of 40 statistics of musicology inside
the interval of real pieces (docs/composition.md).
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns the config."""
    config = base.get_config()
    config.name = "anthems"
    config.data.split_seed = 19  # The first that holds out Afghanistan, the post's example.

    config.representation = ConfigDict()
    config.representation.name = "pianoroll"
    config.representation.steps_per_beat = 12  # Sixteenths and triplets.
    config.representation.min_pitch = 24  # Notes outside the range are moved by octaves, and counted.
    config.representation.num_pitches = 84
    config.representation.normalize_tonic = True  # The key is kept beside the latents.
    config.representation.max_notes = 48  # Of a beat.
    config.representation.crop_beats = 32  # A training example.
    config.representation.training_hop_beats = 16

    config.augment = ConfigDict()
    config.augment.transpose_probability = 0.3
    config.augment.drop_parts_probability = 0.4
    config.augment.mix_probability = 0.25

    config.model = ConfigDict()
    config.model.name = "pianoroll_vae"
    config.model.latent_dim = 40  # Of a beat.
    config.model.num_onset_cells = 600  # Of 1,008 of a beat; the most frequent in training cover 99.7% of the notes.
    config.model.num_drum_cells = 128
    config.model.num_durations = 1200
    config.model.register_semitones = 3
    config.model.kernel_beats = 5
    config.model.preconditioner_beats = 3
    config.model.num_iterations = 8
    config.model.prior_weight = 0.1
    config.model.prior_hidden = 128

    config.loss = ConfigDict()
    config.loss.kl_weight = 0.1

    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 50
    config.optimizer.clip_norm = 300.0
    config.optimizer.b2 = 0.99

    config.train.batch_size = 8
    config.train.num_epochs = 6
    config.train.min_steps = 1600  # A folder of a few songs needs as many updates as a large one.
    config.train.checkpoint_every_epochs = 2
    config.train.average_decay = 0.99

    config.composer = ConfigDict()  # The second stage.
    config.composer.init_from = "pretrained"  # The shipped parameters; "none" learns from the anthems alone.
    config.composer.channels = 128
    config.composer.dropout = 0.45
    config.composer.latent_dim = 12  # Of a phrase of two bars.
    config.composer.kl_weight = 1.0
    config.composer.free_nats = 3.0
    config.composer.crop_notes = 448  # Tokens of a training example.
    config.composer.crop_hop = 224
    config.composer.dropped_lines_copies = 1  # Of every piece, without some of its tracks.
    config.composer.forget_form = 0.3
    config.composer.forget_style = 0.4
    config.composer.forget_harmony = 0.2
    config.composer.forget_latents = 0.5
    config.composer.confuse_memories = 0.15
    config.composer.ending_weight = 4.0  # Of the last two bars.
    config.composer.time_temperature = 1.0
    config.composer.pitch_temperature = 0.8
    config.composer.duration_temperature = 1.0
    config.composer.line_temperature = 0.4
    config.composer.ending_temperature = 0.3
    config.composer.ending_chords = 4.0
    config.composer.return_temperature = 0.25
    config.composer.least_time = 0.02
    config.composer.least_pitch = 0.02
    config.composer.drum_temperature = 0.9
    config.composer.num_drums = 12
    config.composer.num_scored = 64  # Pieces composed for the scores.
    config.composer.optimizer = ConfigDict(config.optimizer.to_dict())
    config.composer.optimizer.learning_rate = 3e-3
    config.composer.optimizer.warmup_steps = 30
    config.composer.optimizer.clip_norm = 1.0
    config.composer.optimizer.weight_decay = 0.05
    config.composer.train = ConfigDict(config.train.to_dict())
    config.composer.train.batch_size = 8
    config.composer.train.num_epochs = 4
    config.composer.train.min_steps = 230
    config.composer.train.checkpoint_every_epochs = 2
    return config
