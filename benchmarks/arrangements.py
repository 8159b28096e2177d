"""What `compose --harmonise`, `--orchestrate` and `--infill` write on held-out pieces, against the originals.

    python -m benchmarks.arrangements --workdir=RUN [--path=CORPUS]

Each row has how many statistics of musicology lie inside the interval of real tunes, and the nats of an n-gram model
that knows the training pieces (a beat, all terms); that of the tracks also what the composer's model of tracks says.
The naive baselines: a parallel triad below every note of the melody; every note to the track whose mean pitch is
nearest; the bars before instead of those to be written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from vae_jax.composer import crops as crops_lib
from vae_jax.composer import generate, infill, requests, stage
from vae_jax.composer import lines as lines_lib
from vae_jax.composer import notes as notes_lib
from vae_jax.composer.notes import NotePiece
from vae_jax.composer.requests import Request
from vae_jax.composer.stage import TrainedComposer
from vae_jax.data.corpus import Piece
from vae_jax.evaluation.likelihood.ngram import NGram
from vae_jax.evaluation.likelihood.target import make_grid_piece
from vae_jax.evaluation.musicology import table
from vae_jax.evaluation.pieces import make_piece_set
from vae_jax.music.match_counts import MatchCounts
from vae_jax.music.score import Score
from vae_jax.representations.pianoroll.config import RollConfig
from vae_jax.runtime import compilation_cache
from vae_jax.training.experiment import load_experiment

_WORKDIR = flags.DEFINE_string("workdir", "", "Folder of a trained run.")
_PATH = flags.DEFINE_string("path", "", "The run's corpus, where it is not at the config's path.")
_SEED = 0
_NUM_BARS = 4  # That are written anew, in the middle of a piece.


def main(_: list[str]) -> None:
    """Prints the table."""
    compilation_cache.enable()
    run = load_experiment(_WORKDIR.value)
    composer, (corpus, split) = stage.load_composer(run), run.load_corpus(_PATH.value)
    training = [corpus.pieces[n] for n in split.train]
    tunes = [corpus.tune_groups[n] for n in split.train]
    grid = RollConfig()
    ngram = NGram([make_grid_piece(piece.score, grid) for piece in training], tunes)
    real = make_piece_set([piece.score for piece in training], tunes)
    pieces = [corpus.pieces[n] for n in split.held_out]
    originals = [piece.score for piece in pieces]
    none = make_piece_set([])

    def show(name: str, scores: Sequence[Score], extra: str = "") -> None:
        found = table.compare_statistics(real, none, make_piece_set(scores), len(scores), _SEED)
        targets = [make_grid_piece(score, grid) for score in scores]
        costs = ngram.nats(targets)
        beats = sum(one.num_beats for one in targets)
        nats = sum(sum(getattr(one, term) or 0.0 for term in ("onsets", "durations")) for one in costs) / beats
        print(
            f"{name:<34} inside {found.num_inside:2d} of {len(found.rows)}, {nats:6.2f} nats a beat{extra}", flush=True
        )

    show("originals", originals)
    rngs = [np.random.default_rng([_SEED, n]) for n in range(len(pieces))]
    asked = [requests.harmonisation_request(composer, piece, rng) for piece, rng in zip(pieces, rngs, strict=True)]
    show("harmonised", generate.generate_pieces(composer, asked, _SEED))
    show("  parallel triads", generate.arrange(composer, asked, [triads(one) for one in asked], _SEED))

    rngs = [np.random.default_rng([_SEED, 1, n]) for n in range(len(pieces))]
    asked = [requests.arrangement_request(composer, piece, rng) for piece, rng in zip(pieces, rngs, strict=True)]
    sources = [notes_lib.read_piece(score) for score in originals]
    plays = generate.assign_tracks(composer, asked, sources, _SEED)
    show(
        "orchestrated",
        generate.arrange(composer, asked, sources, _SEED),
        cost_of_tracks(composer, asked, sources, plays),
    )
    nearest = [by_register(one, piece) for one, piece in zip(asked, sources, strict=True)]
    print(f"{'  the nearest track':<34}{cost_of_tracks(composer, asked, sources, nearest)}")
    own = [
        dataclasses.replace(one, conditions=requests.in_style(composer, piece).conditions[0])
        for one, piece in zip(asked, pieces, strict=True)
    ]
    known = [(one.tracks[:, None] >> np.arange(notes_lib.MAX_TRACKS)) & 1 > 0 for one in sources]
    print(f"{'  the original tracks':<34}{cost_of_tracks(composer, own, sources, known)}")

    versions: Mapping[str, list[Score]] = {"infilled": [], "  without the bars that follow": [], "  bars before": []}
    for piece in pieces:
        bars = middle(piece)
        for name, candidates in (("infilled", 16), ("  without the bars that follow", 1)):
            versions[name] += infill.infill(composer, piece, bars, 1, _SEED, num_candidates=candidates)
        versions["  bars before"].append(repeat_before(piece))
    for name, scores in versions.items():
        same = sum((overlap(piece, score) for piece, score in zip(pieces, scores, strict=True)), MatchCounts())
        show(name, scores, f"; F1 with the original bars {same.f1:.3f}")


def triads(request: Request) -> NotePiece:
    """The melody of a request with a third and a fifth of the scale below every note."""
    melody = request.melody
    assert melody is not None
    scale = np.array([0, 2, 3, 5, 7, 8, 10] if request.conditions.minor else [0, 2, 4, 5, 7, 9, 11])
    ladder = np.sort((scale[:, None] + 12 * np.arange(-1, 9)).ravel())
    place = np.searchsorted(ladder, melody.pitch, side="right") - 1
    pitch = np.concatenate([melody.pitch, ladder[place - 2], ladder[place - 4]])
    step, duration, tracks = (np.tile(x, 3) for x in (melody.step, melody.duration, melody.tracks))
    order = notes_lib.in_order(step, pitch)[0]
    kept = order[pitch[order] >= 0]
    return dataclasses.replace(melody, step=step[kept], pitch=pitch[kept], duration=duration[kept], tracks=tracks[kept])


def by_register(request: Request, piece: NotePiece) -> np.ndarray:
    """Every note to the track whose mean pitch is nearest, bool [N, MAX_TRACKS]."""
    means = np.array([line.pitch for line in request.conditions.lines]) - notes_lib.MIN_PITCH
    nearest = np.abs(piece.pitch[:, None] - means).argmin(axis=1)
    return nearest[:, None] == np.arange(notes_lib.MAX_TRACKS)


def cost_of_tracks(
    composer: TrainedComposer, asked: Sequence[Request], pieces: Sequence[NotePiece], plays: Sequence[np.ndarray]
) -> str:
    """What the tracks cost, given the notes, as text."""
    total, count = 0.0, 0
    for request, piece, mine in zip(asked, pieces, plays, strict=True):
        tracks = (mine << np.arange(notes_lib.MAX_TRACKS)).sum(axis=1)
        lines = lines_lib.line_table(request.conditions.lines)
        crop = crops_lib.whole(dataclasses.replace(piece, tracks=tracks), lines, round_to=512)
        latents = jnp.zeros((*crop.pitch.shape, composer.stage.config.latent_dim + 1))
        crop = jax.tree.map(jnp.asarray, crop)
        nats = composer.stage.note_nats(composer.variables["params"], crop, latents)["lines"]
        total, count = total + float(nats.sum()), count + len(piece.step)
    return f"; tracks {total / count:.2f} nats a note"


def middle(piece: Piece) -> tuple[int, int]:
    """The four bars after the middle of a piece, counted from one."""
    source = notes_lib.read_piece(piece.score)
    first = int(np.searchsorted(source.bars, source.form.start))
    half = (len(source.bars) - 1 - first) // 2
    return half + 1, half + _NUM_BARS


def region(piece: Piece) -> tuple[NotePiece, int, int]:
    """The piece, and the steps of its middle bars."""
    source, (first, last) = notes_lib.read_piece(piece.score), middle(piece)
    bars = source.bars[np.searchsorted(source.bars, source.form.start) :]
    return source, int(bars[first - 1]), int(bars[last])


def repeat_before(piece: Piece) -> Score:
    """The piece with the bars before in place of those in the middle."""
    _, start, end = region(piece)
    notes, ticks = piece.score.notes, piece.score.ticks_per_beat / notes_lib.STEPS_PER_BEAT
    first, last = round(start * ticks), round(end * ticks)
    inside = (notes.onset_ticks >= first) & (notes.onset_ticks < last) & ~notes.is_drum
    before = (notes.onset_ticks >= 2 * first - last) & (notes.onset_ticks < first) & ~notes.is_drum
    moved = notes.select(before)
    moved = moved.replace(onset_ticks=moved.onset_ticks + last - first)
    return dataclasses.replace(piece.score, notes=infill.merge(notes.select(~inside), moved))


def overlap(piece: Piece, score: Score) -> MatchCounts:
    """Matches of the notes in the middle bars."""
    source, start, end = region(piece)
    tonic = notes_lib.key_lib.estimate_tonic(piece.score.notes)
    cells = []
    for one in (source, notes_lib.read_piece(score, tonic)):
        kept = (one.step >= start) & (one.step < end)
        cells.append(set(zip(one.step[kept].tolist(), one.pitch[kept].tolist(), strict=True)))
    return MatchCounts(len(cells[0] & cells[1]), len(cells[0]), len(cells[1]))


if __name__ == "__main__":
    app.run(main)
