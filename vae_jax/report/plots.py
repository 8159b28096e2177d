"""Plots of a corpus, of reconstructions, latents and losses. The only module that imports matplotlib."""

import io
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from anyascii import anyascii
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vae_jax.music import instruments
from vae_jax.music.score import Score
from vae_jax.report.latent_map import LatentMap
from vae_jax.runtime import files
from vae_jax.runtime.text import quantity, shorten

# The colour-blind safe palette of Okabe and Ito (2008), without its yellow, which is hard to see on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F", "#8C564B", "#5D3A9B")
_DRUM_ROW = 20  # Below the lowest pitch.
_MAX_TITLE, _MAX_LABEL = 72, 32  # Characters.


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure as PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    files.write_bytes(path, buffer.getvalue())


def plot_reconstruction(original: Score, reconstruction: Score, title: str, *, as_roll: bool) -> Figure:
    """Draws an original above its reconstruction, as piano rolls on one time axis or as lines."""
    figure = Figure(figsize=(11, 7) if as_roll else (9, 6), layout="constrained")
    axes = figure.subplots(2, 1, sharex=as_roll, sharey=True)
    for panel, score, name in zip(axes, (original, reconstruction), ("original", "reconstruction"), strict=True):
        (draw_roll if as_roll else draw_lines)(panel, score)
        panel.set_title(f"{_escape(title)}: {name}", fontsize=10)
    if as_roll:
        axes[0].set_xlim(0, max(original.end_tick / original.ticks_per_beat, 1))
        axes[0].set_xlabel("")
        _add_legend(axes[0], [original, reconstruction])
    return figure


def plot_score(score: Score, title: str, *, as_roll: bool) -> Figure:
    """Draws one piece, as a piano roll whose width follows its length, or as lines."""
    width = float(np.clip(score.end_tick / score.ticks_per_beat / 9, 6, 24)) if as_roll else 9
    figure = Figure(figsize=(width, 3.8), layout="constrained")
    panel = figure.subplots()
    (draw_roll if as_roll else draw_lines)(panel, score)
    panel.set_title(_escape(title), fontsize=10)
    if as_roll:
        _add_legend(panel, [score])
    return figure


def plot_roll_row(scores: Sequence[Score], titles: Sequence[str]) -> Figure:
    """Draws piano rolls side by side."""
    figure = Figure(figsize=(max(5.0, min(3.2 * len(scores) + 1, 26)), 3.4), layout="constrained")
    axes = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for panel, score, title in zip(axes, scores, titles, strict=True):
        draw_roll(panel, score)
        panel.set_title(_escape(title, _MAX_LABEL), fontsize=9)
    for panel in axes[1:]:
        panel.set_ylabel("")
    _add_legend(axes[-1], scores)
    return figure


def draw_roll(panel: Axes, score: Score) -> None:
    """Draws each pitched note from onset to end, coloured by instrument group, and drums as dots below."""
    part_of = instruments.assign_parts(score)
    beats = score.notes.onset_ticks / score.ticks_per_beat
    lengths = score.notes.duration_ticks / score.ticks_per_beat
    for part in range(instruments.NUM_PARTS):
        mine, colour = np.flatnonzero(part_of == part), COLOURS[part % len(COLOURS)]
        if part == instruments.DRUMS:
            panel.plot(beats[mine], np.full(len(mine), _DRUM_ROW), ".", ms=2, color=colour)
            continue
        notes = zip(beats[mine], lengths[mine], score.notes.pitch[mine], strict=True)
        bars = [[(x, pitch), (x + 0.95 * length, pitch)] for x, length, pitch in notes]
        panel.add_collection(LineCollection(bars, colors=colour, linewidths=2.0, alpha=0.8))
    pitched = score.notes.pitch[~score.notes.is_drum]
    panel.set_ylim(_DRUM_ROW - 3, max(pitched.max(initial=84) + 3, 90))
    panel.set_xlim(0, max(score.end_tick / score.ticks_per_beat, 1))
    panel.set(xlabel="time (beats)", ylabel="pitch")


def draw_lines(panel: Axes, score: Score) -> None:
    """Draws pitch against time in ticks, one line per track, as the post does."""
    tracks = score.note_bearing_tracks()
    for n, track in enumerate(tracks):
        mine = score.notes.track == track
        x, y, label = (
            score.notes.onset_ticks[mine],
            score.notes.pitch[mine],
            _escape(score.track_names[track], _MAX_LABEL),
        )
        panel.plot(x, y, lw=0.8, color=COLOURS[n % len(COLOURS)], label=label or f"track {track + 1}")
    if len(score.notes):
        panel.set_xlim(0, max(1.0, score.end_tick * 1.02))
    else:
        panel.text(0.5, 0.5, "no notes", transform=panel.transAxes, ha="center", va="center")
    panel.set(xlabel="time (ticks)", ylabel="pitch")
    if 0 < len(tracks) <= 12:
        panel.legend(fontsize=6, ncols=2, loc="upper right", framealpha=0.6)


def plot_histograms(scores: Sequence[Score], kept_notes: int | None, corpus_name: str) -> Figure:
    """Draws histograms of a corpus, as the post does: notes per track, length, shortest, lowest and highest note."""
    per_track = np.concatenate([np.bincount(score.notes.track) for score in scores])
    pitches = [score.notes.pitch[~score.notes.is_drum] for score in scores]
    values = {
        "notes per track": per_track[per_track > 0],
        "length (seconds)": [score.duration_sec for score in scores],
        "shortest note (beats)": [score.notes.duration_ticks.min() / score.ticks_per_beat for score in scores],
        "lowest note": [pitch.min(initial=127) for pitch in pitches],
        "highest note": [pitch.max(initial=0) for pitch in pitches],
    }
    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for panel, (name, counted) in zip(axes, values.items(), strict=False):
        panel.hist(counted, bins=60 if name == "notes per track" else 30, color=COLOURS[0])
        panel.set_xlabel(name)
    if kept_notes is not None:
        axes[0].axvline(kept_notes, color=COLOURS[1], label=f"{kept_notes} notes kept")
        axes[0].legend(fontsize=8)
    axes[5].axis("off")
    figure.suptitle(f"{_escape(corpus_name)}: {quantity(len(scores), 'piece')}", fontsize=11)
    return figure


def plot_losses(log: Sequence[Mapping[str, float]], baselines: Mapping[str, float], title: str) -> Figure:
    """Draws loss and KL by epoch, training and held-out, with a horizontal line for each baseline loss."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for subset, colour in (("train", COLOURS[0]), ("held_out", COLOURS[1])):
        for panel, name in ((left, f"{subset}_loss"), (right, f"{subset}_kl_nats")):
            points = [(line["epoch"], line[name]) for line in log if name in line]
            if points:
                panel.plot(*zip(*points, strict=True), color=colour, label=subset.replace("_", "-"))
    for (name, value), colour in zip(baselines.items(), COLOURS, strict=False):
        left.axhline(value, color=colour, ls="--", lw=1, label=name)
    left.set(xlabel="epoch", ylabel="loss")
    right.set(xlabel="epoch", ylabel="KL (nats per example)", yscale="log")
    for panel in (left, right):
        if panel.lines:
            panel.legend(fontsize=8)
    values = [value for line in log for name, value in line.items() if name.endswith("_loss")]
    if values:
        left.set_ylim(0.95 * min([*values, *baselines.values()]), 1.05 * float(np.quantile(values, 0.98)))
    figure.suptitle(_escape(title), fontsize=11)
    return figure


def plot_latent_map(latents: LatentMap, labels: Sequence[str], held_out: Sequence[bool], title: str) -> Figure:
    """Draws each piece as a named point, coloured by cluster; held-out pieces are triangles."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    panel = figure.subplots()
    for n, (point, label, cluster) in enumerate(zip(latents.points, labels, latents.clusters, strict=True)):
        x, y = point[0], point[1] if len(point) > 1 else 0.0
        panel.scatter(x, y, s=14, color=COLOURS[cluster % len(COLOURS)], marker="^" if held_out[n] else "o")
        panel.annotate(_escape(label, _MAX_LABEL), (x, y), fontsize=5, xytext=(2, 2), textcoords="offset points")
    panel.set(xlabel="first axis", ylabel="second axis")
    panel.set_title(_escape(title), fontsize=11)
    return figure


def plot_elbow(latents: LatentMap) -> Figure:
    """Draws the within-cluster sum of squares against the number of clusters."""
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    panel = figure.subplots()
    panel.plot(np.arange(1, len(latents.inertia) + 1), latents.inertia, marker="o", color=COLOURS[0])
    panel.set(xlabel="clusters", ylabel="within-cluster sum of squares")
    return figure


def plot_dendrogram(latents: LatentMap, labels: Sequence[str]) -> Figure:
    """Draws the complete-linkage tree of the pieces."""
    from scipy.cluster import hierarchy

    figure = Figure(figsize=(7, max(3.0, 0.13 * len(labels))), layout="constrained")
    panel = figure.subplots()
    if len(latents.linkage):
        names = [_escape(label, _MAX_LABEL) for label in labels]
        hierarchy.dendrogram(latents.linkage, labels=names, orientation="right", leaf_font_size=5, ax=panel)
    panel.set_xlabel("distance between latents")
    return figure


def _add_legend(panel: Axes, scores: Sequence[Score]) -> None:
    """Names the instrument groups of scores to the right of a panel."""
    present = sorted({int(part) for score in scores for part in instruments.assign_parts(score)})
    names = {part: instruments.PART_NAMES[part] for part in present}
    handles = [Line2D([], [], color=COLOURS[n % len(COLOURS)], lw=3, label=name) for n, name in names.items()]
    if handles:
        panel.legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)


def _escape(text: str, length: int = _MAX_TITLE) -> str:
    """Makes a name from a file printable and short, transliterates what the font lacks, such as Chinese, and keeps
    matplotlib from reading it as a formula."""
    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    drawn = "".join(c if font.get_char_index(ord(c)) else anyascii(c) for c in files.printable(text))
    return shorten(drawn, length).replace("$", r"\$")
