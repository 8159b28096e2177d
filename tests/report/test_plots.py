"""Plots: any name and any score can be drawn, and equal figures are equal bytes."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from builders import tune
from command_line import PNG

from vae_jax.music.score import Score, make_notes, make_score
from vae_jax.report import plots
from vae_jax.report.latent_map import map_latents

HOSTILE = "$x^ \\frac{ <b>\x1b[2J 国歌"
SILENCE = make_score(480, make_notes([], [], []))
DRUMS = make_score(480, make_notes(np.arange(8) * 480, 100, 38, channel=9), track_names=[HOSTILE])


@pytest.mark.parametrize("score", [tune(0), DRUMS, SILENCE], ids=["tune", "drums", "silence"])
@pytest.mark.parametrize("as_roll", [True, False])
def test_any_score_under_any_name(score: Score, as_roll: bool, tmp_path: pathlib.Path):
    figures = {
        "pair": plots.plot_reconstruction(score, SILENCE, HOSTILE, as_roll=as_roll),
        "single": plots.plot_score(score, HOSTILE, as_roll=as_roll),
    }
    for name, figure in figures.items():
        plots.save(figure, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(PNG)


def test_equal_figures_are_equal_bytes(tmp_path: pathlib.Path):
    for name, shift in (("one", 0), ("again", 0), ("other", 1)):
        plots.save(plots.plot_score(tune(shift), "title", as_roll=True), tmp_path / name)
    one, again, other = ((tmp_path / name).read_bytes() for name in ("one", "again", "other"))
    assert one == again != other


def test_a_roll_has_a_bar_for_each_note_and_a_dot_for_each_drum():
    notes = make_notes([0, 480, 960, 1440], [480, 960, 480, 100], [60, 64, 67, 38], channel=[0, 0, 0, 9])
    (panel,) = plots.plot_score(make_score(480, notes), "title", as_roll=True).axes
    bars = [bar for collection in panel.collections for bar in collection.get_segments()]
    assert sorted((bar[0, 0], bar[1, 0], bar[0, 1]) for bar in bars) == [
        (0, 0.95, 60), (1, 1 + 0.95 * 2, 64), (2, 2.95, 67),
    ]  # fmt: skip
    assert [line.get_xdata().tolist() for line in panel.lines if len(line.get_xdata())] == [[3.0]]


@pytest.mark.parametrize(("num_pieces", "latent_dim"), [(1, 2), (2, 1), (3, 2), (12, 5)])
def test_maps_of_few_pieces(num_pieces: int, latent_dim: int, tmp_path: pathlib.Path):
    means = np.random.default_rng(0).normal(size=(num_pieces, latent_dim))
    mapped = map_latents(means, 0)
    labels = [f"piece {n}" for n in range(num_pieces)]
    for n, figure in enumerate((
        plots.plot_latent_map(mapped, labels, [False] * num_pieces, "title"),
        plots.plot_elbow(mapped),
        plots.plot_dendrogram(mapped, labels),
    )):  # fmt: skip
        plots.save(figure, tmp_path / f"{n}.png")
    assert len(mapped.inertia) == min(num_pieces, 10)
    assert np.all(np.diff(mapped.inertia) <= 1e-9)
    assert mapped.points.shape == (num_pieces, min(latent_dim, 2))


def test_long_and_chinese_names_are_clipped_and_transliterated(tmp_path: pathlib.Path):
    """Warnings of glyphs that are missing and of layouts that collapse are errors here."""
    figure = plots.plot_score(tune(0), "国歌 Гимн $a$ " + 240 * "x", as_roll=True)
    (panel,) = figure.axes
    title = panel.get_title()
    assert title.startswith(r"GuoGe Гимн \$a\$ x") and "…" in title and len(title) < 80
    plots.save(figure, tmp_path / "plot.png")
