"""Pictures of a corpus, reconstructions, latents and losses. The only room that imports matplotlib."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vae_jax.music import instruments
from vae_jax.music.score import Score
from vae_jax.report.latent_map import LatentMap
from vae_jax.runtime import files

# Okabe and Ito 2008, colours that colour-blind readers tell apart, without the yellow that vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F", "#8C564B", "#5D3A9B")
_DPI = 110
_DRUM_ROW = 20  # Below the lowest pitch.


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure as PNG, without the date that would make equal runs differ, and closes it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    plt.close(figure)
    files.write_bytes(path, buffer.getvalue())


def plot_lines(original: Score, reconstruction: Score, title: str) -> Figure:
    """The post's line plot, note against time with a line a track: the original above its reconstruction."""
    figure, axes = plt.subplots(2, 1, figsize=(9, 6), sharey=True, layout="constrained")
    for panel, score, name in zip(axes, (original, reconstruction), ("original", "reconstruction"), strict=True):
        draw_lines(panel, score)
        panel.set_title(f"{_plain(title)}: {name}", fontsize=10)
    axes[0].set_xlim(_tick_limits(original))
    axes[1].set_xlim(_tick_limits(original) if not len(reconstruction.notes) else _tick_limits(reconstruction))
    return figure


def plot_rolls(original: Score, reconstruction: Score, title: str) -> Figure:
    """Piano rolls on one time axis, a bar a note, parts in colours: the original above its reconstruction."""
    figure, axes = plt.subplots(2, 1, figsize=(11, 7), sharex=True, sharey=True, layout="constrained")
    for panel, score, name in zip(axes, (original, reconstruction), ("original", "reconstruction"), strict=True):
        draw_roll(panel, score)
        panel.set_title(f"{_plain(title)}: {name}", fontsize=10)
    axes[1].set_xlabel("time (beats)")
    axes[0].set_xlim(0, max(original.end_tick / original.ticks_per_beat, 1))
    _roll_legend(axes[0], [original, reconstruction])
    return figure


def plot_roll_row(scores: Sequence[Score], titles: Sequence[str]) -> Figure:
    """Piano rolls side by side, parts in colours."""
    width = max(5.0, min(3.2 * len(scores) + 1, 26))
    figure, axes = plt.subplots(1, len(scores), figsize=(width, 3.4), sharey=True, squeeze=False, layout="constrained")
    for panel, score, title in zip(axes[0], scores, titles, strict=True):
        draw_roll(panel, score)
        panel.set_title(_plain(title), fontsize=9)
        panel.set_xlabel("time (beats)")
    _roll_legend(axes[0][0], scores)
    return figure


def plot_roll(score: Score, title: str) -> Figure:
    """One piano roll, as wide as its length asks for, with the legend beside it."""
    beats = score.end_tick / score.ticks_per_beat
    width = float(np.clip(beats / 9, 6, 24))
    figure, panel = plt.subplots(figsize=(width, 3.8), layout="constrained")
    draw_roll(panel, score)
    panel.set_title(_plain(title), fontsize=10)
    panel.set_xlabel("time (beats)")
    handles = _part_handles([score])
    if handles:
        panel.legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
    return figure


def draw_roll(panel: Axes, score: Score) -> None:
    """Draws every pitched note as a bar from its onset to its end, coloured by its part; drums are dots below."""
    part_of = instruments.assign_parts(score)
    beats = score.notes.onset_ticks / score.ticks_per_beat
    lengths = score.notes.duration_ticks / score.ticks_per_beat
    for part in range(instruments.NUM_PARTS):
        mine = np.flatnonzero(part_of == part)
        colour = COLOURS[part % len(COLOURS)]
        if part == instruments.DRUMS:
            panel.plot(beats[mine], np.full(len(mine), _DRUM_ROW), ".", ms=2, color=colour)
            continue
        bars = [
            [(x, pitch), (x + 0.95 * length, pitch)]
            for x, length, pitch in zip(beats[mine], lengths[mine], score.notes.pitch[mine], strict=True)
        ]
        panel.add_collection(LineCollection(bars, colors=colour, linewidths=2.0, alpha=0.8))
    pitched = score.notes.pitch[~score.notes.is_drum]
    panel.set_ylim(_DRUM_ROW - 3, max(pitched.max(initial=84) + 3, 90))
    panel.set_xlim(0, max(score.end_tick / score.ticks_per_beat, 1))
    panel.set_ylabel("note")


def _part_handles(scores: Sequence[Score]) -> list[Line2D]:
    shown = sorted({int(part) for score in scores for part in instruments.assign_parts(score)})
    return [
        Line2D([], [], color=COLOURS[part % len(COLOURS)], lw=3, label=instruments.PART_NAMES[part]) for part in shown
    ]


def _roll_legend(panel: Axes, scores: Sequence[Score]) -> None:
    handles = _part_handles(scores)
    if handles:
        columns = len(handles) if panel.get_window_extent().width > 800 else 2
        panel.legend(handles=handles, fontsize=6, ncols=columns, loc="upper right", framealpha=0.7)


def plot_score_lines(score: Score, title: str) -> Figure:
    """The post's line plot of one piece."""
    figure, panel = plt.subplots(figsize=(9, 3.5), layout="constrained")
    draw_lines(panel, score)
    panel.set_title(_plain(title), fontsize=10)
    return figure


def draw_lines(panel: Axes, score: Score) -> None:
    """Draws note against time in ticks, one line a track."""
    for n, track in enumerate(score.note_bearing_tracks()):
        mine = score.notes.track == track
        label = _plain(score.track_names[track]) or f"track {track + 1}"
        panel.plot(
            score.notes.onset_ticks[mine], score.notes.pitch[mine], lw=0.8, color=COLOURS[n % len(COLOURS)], label=label
        )
    if not len(score.notes):
        panel.text(0.5, 0.5, "no note", transform=panel.transAxes, ha="center", va="center")
    panel.set_xlabel("time (ticks)")
    panel.set_ylabel("note")
    if 0 < len(score.note_bearing_tracks()) <= 12:
        panel.legend(fontsize=6, ncols=2, loc="upper right", framealpha=0.6)


def plot_histograms(scores: Sequence[Score], kept_notes: int | None, corpus_name: str) -> Figure:
    """The post's look at its corpus: notes per track, length, shortest note, lowest and highest note."""
    per_track = np.concatenate([np.bincount(score.notes.track) for score in scores])
    panels = [
        (per_track[per_track > 0], "notes per track"),
        (np.array([score.duration_sec for score in scores]), "length (seconds)"),
        (
            np.array([score.notes.duration_ticks.min() / score.ticks_per_beat for score in scores]),
            "shortest note (beats)",
        ),
        (np.array([score.notes.pitch[~score.notes.is_drum].min(initial=127) for score in scores]), "lowest note"),
        (np.array([score.notes.pitch[~score.notes.is_drum].max(initial=0) for score in scores]), "highest note"),
    ]
    figure, axes = plt.subplots(2, 3, figsize=(11, 6), layout="constrained")
    for panel, (values, name) in zip(axes.flat, panels, strict=False):
        panel.hist(values, bins=60 if name == "notes per track" else 30, color=COLOURS[0])
        panel.set_xlabel(name)
    if kept_notes is not None:
        axes.flat[0].axvline(kept_notes, color=COLOURS[1], label=f"{kept_notes} notes kept")
        axes.flat[0].legend(fontsize=8)
    axes.flat[5].axis("off")
    figure.suptitle(f"{_plain(corpus_name)}: {len(scores)} pieces", fontsize=11)
    return figure


def plot_losses(log: Sequence[Mapping[str, float]], baselines: Mapping[str, float], title: str) -> Figure:
    """Loss and KL by epoch, training and held-out, with the loss of the best constant as a line."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for part, colour in (("train", COLOURS[0]), ("held_out", COLOURS[1])):
        for panel, name in ((left, "loss"), (right, "kl_nats")):
            lines = [(line["epoch"], line[f"{part}_{name}"]) for line in log if f"{part}_{name}" in line]
            if lines:
                panel.plot(*zip(*lines, strict=True), color=colour, label=part.replace("_", "-"))
    for (name, value), colour in zip(baselines.items(), COLOURS, strict=False):
        left.axhline(value, color=colour, ls="--", lw=1, label=name)
    left.set_ylabel("loss")
    right.set_ylabel("KL (nats an example)")
    right.set_yscale("log")
    for panel in (left, right):
        panel.set_xlabel("epoch")
        if panel.lines:
            panel.legend(fontsize=8)
    values = [value for line in log for name, value in line.items() if name.endswith("_loss")]
    if values:
        left.set_ylim(0.95 * min([*values, *baselines.values()]), 1.05 * float(np.quantile(values, 0.98)))
    figure.suptitle(_plain(title), fontsize=11)
    return figure


def plot_latent_map(latents: LatentMap, labels: Sequence[str], held_out: Sequence[bool], title: str) -> Figure:
    """Every piece a point with its name, coloured by cluster; held-out pieces are triangles."""
    figure, panel = plt.subplots(figsize=(10, 8), layout="constrained")
    for n, (point, label, cluster) in enumerate(zip(latents.points, labels, latents.clusters, strict=True)):
        x, y = point[0], point[1] if len(point) > 1 else 0.0
        colour = COLOURS[cluster % len(COLOURS)]
        panel.scatter(x, y, s=14, color=colour, marker="^" if held_out[n] else "o")
        panel.annotate(_plain(label), (x, y), fontsize=5, xytext=(2, 2), textcoords="offset points")
    panel.set_xlabel("first axis")
    panel.set_ylabel("second axis")
    panel.set_title(_plain(title), fontsize=11)
    return figure


def plot_elbow(latents: LatentMap) -> Figure:
    """Within-cluster sum of squares against the number of clusters."""
    figure, panel = plt.subplots(figsize=(5, 3.5), layout="constrained")
    panel.plot(np.arange(1, len(latents.inertia) + 1), latents.inertia, marker="o", color=COLOURS[0])
    panel.set_xlabel("clusters")
    panel.set_ylabel("within-cluster sum of squares")
    return figure


def plot_dendrogram(latents: LatentMap, labels: Sequence[str]) -> Figure:
    """The complete-linkage tree of the pieces."""
    import scipy.cluster.hierarchy

    figure, panel = plt.subplots(figsize=(7, max(3.0, 0.13 * len(labels))), layout="constrained")
    if len(latents.linkage):
        names = [_plain(label) for label in labels]
        scipy.cluster.hierarchy.dendrogram(
            latents.linkage, labels=names, orientation="right", leaf_font_size=5, ax=panel
        )
    panel.set_xlabel("distance between latents")
    return figure


def _plain(text: str) -> str:
    """A name from a file as matplotlib may draw it: printable, and no formulas."""
    return files.printable(text).replace("$", r"\$")


def _tick_limits(score: Score) -> tuple[float, float]:
    return 0.0, max(1.0, score.end_tick * 1.02)
