"""The second stage: its loss adds up, what is not given does not matter, and loading gives what was trained."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.composer import drums as drums_lib
from vae_jax.composer import hiding
from vae_jax.composer import stage as stage_lib
from vae_jax.composer.crops import NOTE
from vae_jax.composer.stage import ComposerExamples, ComposerStage, TrainedComposer
from vae_jax.data import synthetic
from vae_jax.models.losses import gaussian_kl_nats
from vae_jax.models.posterior import Posterior
from vae_jax.runtime.errors import UserError
from vae_jax.training.experiment import load_experiment

SCORES = [synthetic.make_score(2, n) for n in range(2)]
BATCH = 2


class Trained(NamedTuple):
    composer: TrainedComposer
    batch: ComposerExamples[jax.Array]
    losses: dict[bool, Any]


@pytest.fixture(scope="module")
def composer(small_run: pathlib.Path) -> TrainedComposer:
    return stage_lib.load_composer(load_experiment(str(small_run)))


@pytest.fixture(scope="module")
def stage(composer) -> ComposerStage:
    """With a heavier ending and free nats, so that both show."""
    config = dataclasses.replace(composer.stage.config, ending_weight=4.0, free_nats=0.01, kl_weight=0.5)
    return dataclasses.replace(composer.stage, config=config)


@pytest.fixture(scope="module")
def batch(composer, stage) -> ComposerExamples[jax.Array]:
    examples = ComposerExamples.of(SCORES, composer.drums, stage.config, [0])
    return jax.tree.map(lambda x: jnp.asarray(x[-BATCH:]), examples)


@pytest.fixture(scope="module")
def losses(composer, stage, batch):
    """Loss and terms in evaluation, and in training."""
    loss = jax.jit(stage.loss, static_argnames="train")
    return {
        train: jax.device_get(loss(composer.variables, batch, jax.random.key(1), train=train))
        for train in (False, True)
    }


def test_the_loss_adds_up(stage, losses):
    """In evaluation the ending weighs as much as the rest."""
    loss, terms = losses[False]
    assert set(terms) == {"more", "gap", "pitch", "duration", "lines", "kl", "drums"}
    assert all((values >= 0).all() and values.shape == (BATCH,) for values in terms.values())
    nats = sum(values for name, values in terms.items() if name != "kl")
    beyond = (loss - nats) / stage.config.kl_weight
    assert (beyond >= -1e-4).all() and (beyond <= terms["kl"] + 1e-4).all()


def test_training_forgets_and_weighs_the_ending(losses):
    assert np.isfinite(losses[True][0]).all()
    assert (losses[True][0] > losses[False][0]).any()


def test_crops_hold_every_note_of_a_piece(composer, stage):
    examples = ComposerExamples.of(SCORES[:1], composer.drums, stage.config, [0])
    length = composer.stage.config.crop_notes
    assert examples.notes.kind.shape[1] == length
    steps = examples.notes.step[examples.notes.kind == NOTE]
    assert len(np.unique(steps)) > 10 and len(examples.notes.kind) == len(examples.drums.rows)


def test_copies_without_some_lines_are_further_examples(composer, stage):
    plain, more = (
        len(ComposerExamples.of(SCORES, composer.drums, stage.config, [0], copies).notes.kind) for copies in (0, 2)
    )
    assert more > plain


@pytest.fixture(scope="module")
def nats(composer, batch):
    """Nats of notes where latents are given or not, and the form and the style are or not."""
    params, net = composer.variables["params"], composer.stage
    rng = np.random.default_rng(0)
    params = params | {
        "decoder": jax.tree.map(
            lambda leaf: leaf + jnp.asarray(rng.normal(0, 0.1, leaf.shape), jnp.float32), params["decoder"]
        )
    }

    @jax.jit
    def apply(crops, z, given, no_form, no_style, no_harmony):
        crops = hiding.forget(crops, no_form, no_style, no_harmony)
        return net.note_nats(params, crops, stage_lib.of_tokens(z, crops, given))

    def total(crops=batch.notes, z=0.0, given=True, no_form=False, no_style=False, no_harmony=False) -> np.ndarray:
        latents = jnp.full((BATCH, 64, net.config.latent_dim), z, jnp.float32)
        found = apply(crops, latents, *(jnp.full(BATCH, flag) for flag in (given, no_form, no_style, no_harmony)))
        return np.asarray(found["pitch"].sum(axis=1))

    return total


def test_latents_that_are_dropped_do_not_matter(nats):
    assert not np.array_equal(nats(z=1.0), nats(z=-1.0))
    assert np.array_equal(nats(z=1.0, given=False), nats(z=-1.0, given=False))


def test_chords_that_are_forgotten_do_not_matter(nats, batch):
    other = batch.notes._replace(chords=(batch.notes.chords + 2) % 24)
    assert not np.array_equal(nats(), nats(other))
    assert np.array_equal(nats(no_harmony=True), nats(other, no_harmony=True))


def test_a_style_that_is_forgotten_does_not_matter(nats, batch):
    other = batch.notes._replace(style=batch.notes.style + 1)
    assert not np.array_equal(nats(), nats(other))
    assert np.array_equal(nats(no_style=True), nats(other, no_style=True))


def test_a_form_that_is_forgotten_does_not_matter(nats, batch):
    crops = batch.notes
    other = crops._replace(plan=crops.plan + 1, aligned=crops.aligned.at[:, :, -1].set(255))
    assert not np.array_equal(nats(), nats(other))
    assert np.array_equal(nats(no_form=True), nats(other, no_form=True))
    fixed = crops._replace(aligned=crops.aligned.at[:, :, 0].set(255))
    assert not np.array_equal(nats(no_form=True), nats(fixed, no_form=True)), "the fixed lags stay"


def test_kl_by_hand():
    mean, log_variance = jnp.array([[[1.0, 0.0]], [[0.0, 0.0]]]), jnp.array([[[0.0, 0.0]], [[1.0, 0.0]]])
    found = gaussian_kl_nats(Posterior(mean, log_variance))
    assert np.asarray(found).reshape(2, -1).sum(axis=1) == pytest.approx([0.5, 0.5 * (np.e - 2)])


def test_loading_gives_what_was_trained(small_run, composer):
    again = stage_lib.load_composer(load_experiment(str(small_run)))
    assert jax.tree.all(jax.tree.map(np.array_equal, again.variables, composer.variables))
    assert again.conditions == composer.conditions and np.array_equal(again.drums, composer.drums)
    assert len(composer.conditions) == 4 and len(composer.drums) == composer.stage.config.num_drums
    assert np.array_equal(again.forms.back, composer.forms.back)


@pytest.mark.parametrize(
    "change",
    [
        lambda known: known.pop("forms"),
        lambda known: known.update(conditions=[]),
        lambda known: known.update(conditions=[1]),
        lambda known: known.update(drums=[36]),
        lambda known: known["conditions"][0].pop("lines"),
    ],
)
def test_damaged_pieces_are_one_line(small_run, tmp_path, change):
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    path = folder / "composer" / "pieces.json"
    known = json.loads(path.read_text())
    change(known)
    path.write_text(json.dumps(known))
    with pytest.raises(UserError, match=r"pieces\.json: damaged"):
        stage_lib.load_composer(load_experiment(str(folder)))


def test_drums_of_padding_cost_nothing(composer):
    none = jax.tree.map(lambda x: x[None], stage_lib._no_drums(len(composer.drums)))
    params = composer.variables["params"]["drums"]
    assert not np.asarray(jax.jit(drums_lib.drum_nats, static_argnums=0)(composer.stage.drum_net, params, none)).any()
