"""The page of a run: what it packs, what it says, and that nothing from a file becomes a part of the page."""

from __future__ import annotations

import base64
import hashlib
import html
import html.parser
import json
import pathlib
import shutil
import struct

import numpy as np
import pytest
from small_run import run

from configs import anthems
from vae_jax import report
from vae_jax.data import corpus, ingest_report
from vae_jax.models.latents import LatentMap
from vae_jax.music import midi
from vae_jax.music.score import Score, Tempo, make_notes, make_score
from vae_jax.reconstruct import pair_paths
from vae_jax.report import latent_walks, packing, page, pieces
from vae_jax.report import run_record as run_record_lib
from vae_jax.runtime import files
from vae_jax.runtime.errors import UserError
from vae_jax.training import run_dir
from vae_jax.training.run_dir import RunFolder

IMAGE = "<img src=x onerror=alert(1)>"
SCRIPT = "</script><script>alert(2)</script><!--"


def melody(first: int, name: str = "melody") -> Score:
    notes = make_notes(np.arange(8) * 480, 240, first + np.arange(8), program=56)
    return make_score(480, notes, track_names=[name])


def make_run(tmp_path: pathlib.Path, tunes: dict[str, Score]) -> RunFolder:
    """A run's folder as it is before the first step, the first tune held out, and its corpus beside it."""
    songs = tmp_path / "songs"
    songs.mkdir()
    for name, score in tunes.items():
        (songs / name).write_bytes(midi.write_midi(score))
    (songs / "<b>text.mid").write_text("Dear diary,")
    source = corpus.load_corpus(str(songs))
    paths = [piece.path for piece in source.pieces]
    held_out = paths.index(next(iter(tunes)))
    split = corpus.Split(tuple(n for n in range(len(paths)) if n != held_out), (held_out,))
    folder = run_dir.open_run(str(tmp_path / "run"), anthems.get_config().to_dict(), source, split)
    files.write_json(folder.ingest, ingest_report.describe_corpus(source))
    return folder


def add_music(folder: RunFolder, name: str, original: Score, reconstruction: Score, *, training: bool = False) -> None:
    place = folder.training_reconstructions if training else folder.reconstructions
    for path, score in zip(pair_paths(place, name), (original, reconstruction), strict=True):
        files.write_bytes(path, midi.write_midi(score))


class Tags(html.parser.HTMLParser):
    """Every start tag with its attributes, and what each script holds."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[-1] += data

    def handle_endtag(self, tag):
        self.tags.append((f"/{tag}", {}))

    def data(self):
        return json.loads(self.scripts[0])


def written(folder: RunFolder) -> tuple[str, Tags]:
    size = report.write_report(folder, None)
    text = folder.report.read_text(encoding="utf-8")
    assert size == folder.report.stat().st_size
    return text, Tags(text)


# Packing.


def test_notes_are_packed_as_documented():
    notes = make_notes(
        [0, 480, 960], [480, 240, 96], [60, 72, 38], channel=[0, 0, 9], velocity=[127, 4, 64], program=56
    )
    score = make_score(480, notes, tempos=[Tempo(0, 1_000_000), Tempo(480, 500_000)])
    data = base64.b64decode(packing.pack_notes(score))
    assert struct.unpack("<3I3H3B3B", data) == (
        *(0, 1000, 1500),
        *(1000, 250, 100),
        *(60, 72, 38),
        *(0 * 32 + 31, 0 * 32 + 1, 7 * 32 + 16),
    )


def test_a_note_longer_than_a_minute_is_cut_and_silence_is_nothing():
    long = make_score(480, make_notes([0], [480 * 200], [60]))
    assert struct.unpack("<IHBB", base64.b64decode(packing.pack_notes(long)))[1] == 65_535
    assert packing.pack_music(make_score(480, make_notes([], [], [])))["notes"] == ""


# What comes from files.


def test_nothing_from_a_file_becomes_a_part_of_the_page(tmp_path):
    name = f"{IMAGE}.mid"
    folder = make_run(tmp_path, {name: melody(60, IMAGE), "plain.mid": melody(48, SCRIPT)})
    names = files.safe_names(corpus.label_paths(sorted([name, "plain.mid"])))
    add_music(folder, names[0], melody(60, IMAGE), melody(61, SCRIPT))
    add_music(folder, names[1], melody(48, SCRIPT), melody(48, IMAGE), training=True)
    files.write_bytes(folder.samples / f"{IMAGE}.mid", midi.write_midi(melody(50, SCRIPT)))
    files.write_bytes(folder.samples / "broken.mid", b"MThd")
    text, tags = written(folder)

    kinds = [tag for tag, _ in tags.tags]
    assert "img" not in kinds and "b" not in kinds
    assert kinds.count("script") == kinds.count("/script") == 1 + len(page.SCRIPTS)
    assert not [attribute for _, attributes in tags.tags for attribute in attributes if attribute.startswith("on")]
    assert html.escape(IMAGE) in text
    assert "&lt;b&gt;text.mid" in text

    data = tags.data()
    held_out, training = sorted(data["pieces"], key=lambda piece: not piece["held_out"])
    assert held_out["name"] == IMAGE
    assert [track["name"] for track in held_out["tracks"] + training["tracks"]] == [IMAGE, SCRIPT]
    samples = {sample["name"]: sample for sample in data["samples"]}
    assert samples[IMAGE]["tracks"][0]["name"] == SCRIPT
    assert samples[IMAGE]["music"]["url"] == "samples/%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E.mid"
    assert "cannot be read" in samples["broken"]["complaint"]


def test_the_page_runs_its_own_scripts_and_no_other(tmp_path):
    _, tags = written(make_run(tmp_path, {"one.mid": melody(60)}))
    policy = next(
        attributes["content"] for tag, attributes in tags.tags if "http-equiv" in attributes and tag == "meta"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    allowed = policy.split("script-src ")[1].split()
    assert allowed == [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in tags.scripts[1:]
    ]
    assert not [1 for _, attributes in tags.tags if str(attributes.get("src") or "").startswith(("http", "//"))]


# What is there and what is not.


def test_a_run_that_has_just_begun_says_what_is_missing(tmp_path):
    text, tags = written(make_run(tmp_path, {"one.mid": melody(60), "two.mid": melody(62)}))
    for sentence in (
        "This run has not been evaluated yet",
        "no <code>metrics.json</code>",
        "This folder holds no reconstructions yet",
        "This run has composed nothing",
        "This folder holds no samples yet",
        "Nothing to interpolate",
        "no <code>latents.npz</code>",
        "No epoch has been logged yet",
        "3 files: 2 loaded",
    ):
        assert sentence in text
    data = tags.data()
    assert (data["grid"], data["interpolations"], len(data["pieces"])) == (None, [], 2)


def test_scores_stand_beside_their_baselines_and_goals(tmp_path):
    folder = make_run(tmp_path, {"one.mid": melody(60), "two.mid": melody(62)})
    scores = {
        "pieces": 1, "latent_dim": 256, "kl_nats": 600.0, "active_units": 256,
        "note_f1_50ms": 0.951, "note_f1_50ms_interval": [0.9, 0.99],
        "note_recall_50ms": 0.94, "note_precision_50ms": 0.96,
        "note_f1_instrument": 0.8, "note_f1_grid": 0.85, "baseline_pca_note_f1_grid": 0.83,
        "ceiling_note_f1_50ms": 0.993, "baseline_pca_note_f1_50ms": 0.642,
    }  # fmt: skip
    composed = {
        "features": {"groove": {"composed": 0.75, "real": [0.5, 0.8]}, "polyphony": {"composed": None}},
        "memorisation": {"two_bars": {"real": {"mean": 0.25}, "composed": {"mean": 0.125}, "exceeds_real": False}},
        "bars": 32,
    }
    files.write_json(folder.metrics, {"held_out": scores, "training": scores, "composed": composed})
    text, _ = written(folder)
    gauges = [" ".join(Words(part).words) for part in text.split('<li class="gauge">')[1:]]
    titles = ("Whole tunes Right", "Whole tunes, by the right", "Two-bar windows Right", "What the representation")
    by_title = {title: next(gauge for gauge in gauges if gauge.startswith(title)) for title in titles}
    assert "0.951 0.900 to 0.990 PCA 0.642 ceiling 0.993 training 0.951 goal 0.90 met" in by_title["Whole tunes Right"]
    assert "goal 0.90 not met" in by_title["Whole tunes, by the right"]
    assert "goal PCA + 0.05 not met" in by_title["Two-bar windows Right"]
    assert "goal 0.99 met" in by_title["What the representation"]
    words = " ".join(Words(text).words)
    assert "Of 1 tunes that the model never heard, it plays 94.0% of the notes" in words
    assert "bars 32" in words
    assert "features figure composed real groove 0.750 0.500 to 0.800 polyphony –" in words
    assert "memorisation: two bars figure mean real 0.250 composed 0.125" in words
    assert "memorisation: two bars figure value exceeds real no" in words


class Words(html.parser.HTMLParser):
    """The words that are shown."""

    def __init__(self, text: str):
        super().__init__()
        self.words: list[str] = []
        self.feed(text.partition("<script")[0])

    def handle_data(self, data):
        self.words += data.split()


def test_where_room_is_short_held_out_pieces_come_first(tmp_path, monkeypatch):
    folder = make_run(tmp_path, {"b.mid": melody(60), "a.mid": melody(62), "c.mid": melody(64)})
    for n, name in enumerate("abc"):
        add_music(folder, name, melody(60 + n), melody(60 + n), training=name != "b")
    monkeypatch.setattr(pieces, "MAX_PACKED_BYTES", 200)  # A melody of eight notes takes 88.
    _, tags = written(folder)
    assert [("original" in piece) for piece in tags.data()["pieces"]] == [False, True, False]


def test_a_damaged_file_of_the_run_is_named(tmp_path):
    folder = make_run(tmp_path, {"one.mid": melody(60)})
    add_music(folder, "one", melody(60), melody(61))
    pair_paths(folder.reconstructions, "one")[1].write_bytes(b"")
    text, _ = written(folder)
    assert "one.reconstruction.mid cannot be read (the file is empty)" in text
    folder.latents.write_bytes(b"PK")
    with pytest.raises(UserError, match=r"latents.npz: damaged"):
        report.write_report(folder, None)


# Between tunes.


class Decoder:
    """Stands for a model: keeps the latents that it is given."""

    def decode_scores(self, latents):
        self.latents = latents
        return [melody(60) for _ in latents]


def record_with(tmp_path, **latents) -> run_record_lib.Record:
    folder = make_run(tmp_path, {"one.mid": melody(60), "two.mid": melody(62), "three.mid": melody(64)})
    buffer = folder.latents
    np.savez(buffer, is_training=np.ones(len(latents["piece"]), bool), **latents)
    return run_record_lib.read_record(folder)


def test_a_point_of_the_grid_on_a_tune_plays_that_tune_and_one_between_is_between(tmp_path):
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(12, 5)).astype(np.float32)
    run_record = record_with(tmp_path, mean=mean, piece=np.repeat([0, 1, 2], 4))
    points = np.array([[0.0, 0.0], [7.0, 0.0], [3.5, 7.0]])
    decoder = Decoder()
    grid = latent_walks.grid(decoder, run_record, LatentMap(points, np.zeros(3, int), np.zeros(1), np.zeros((0, 4))))
    assert grid is not None
    cells = {tuple(cell["point"]): z for cell, z in zip(grid["cells"], decoder.latents, strict=True)}
    assert len(cells) == 64
    np.testing.assert_allclose(cells[0.0, 0.0], mean[1:3], rtol=1e-5)  # The first window, a pick-up often, is left out.
    np.testing.assert_allclose(cells[7.0, 0.0], mean[5:7], rtol=1e-5)
    middle = cells[3.0, 0.0]
    lengths = [np.linalg.norm(mean[n : n + 2], axis=1) for n in (1, 5, 9)]
    assert np.all(np.linalg.norm(middle, axis=1) <= np.max(lengths, axis=0) + 1e-5)
    assert np.all(np.linalg.norm(middle, axis=1) >= np.min(lengths, axis=0) - 1e-5)
    for cell in grid["cells"]:
        assert sum(weight for _, weight in cell["near"]) == pytest.approx(1, abs=0.002)


def test_a_map_that_is_the_latent_space_is_decoded_as_it_stands(tmp_path):
    mean = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], np.float32)
    run_record = record_with(tmp_path, mean=mean, piece=np.arange(3))
    decoder = Decoder()
    grid = latent_walks.grid(decoder, run_record, latent_walks.map_run(run_record, 3))
    assert grid is not None and grid["is_latent_space"]
    for cell, z in zip(grid["cells"], decoder.latents, strict=True):
        np.testing.assert_allclose(z, [cell["point"]], atol=1e-5)
    _, tags = written(run_record.folder)  # With neither scores nor a model there is a map all the same.
    assert sorted(piece["point"] for piece in tags.data()["pieces"]) == [[0, 0], [0, 2], [1, 0]]
    assert "atlas" in [attributes.get("id") for _, attributes in tags.tags]


def test_latents_that_do_not_tell_of_every_piece_give_no_map(tmp_path):
    run_record = record_with(tmp_path, mean=np.zeros((2, 2), np.float32), piece=np.array([0, 2]))
    assert latent_walks.map_run(run_record, 3) is None


# The commands.


def test_the_run_leaves_its_page_and_the_command_makes_the_same(small_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    first = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    done = run("-m", "vae_jax.report", f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    assert f"{folder / 'report.html'}: " in done.stdout
    assert (folder / "report.html").read_bytes() == first
    data = Tags(first.decode()).data()
    assert all("original" in piece and "reconstruction" in piece for piece in data["pieces"])
    assert [len(way["steps"]) for way in data["interpolations"]] == [9]
    assert len(data["grid"]["cells"]) == 64
    for piece in data["pieces"]:
        assert (folder / piece["original"]["url"]).is_file()


def test_a_folder_without_a_run_ends_in_one_line(tmp_path):
    done = run("-m", "vae_jax.report", f"--workdir={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"error: {tmp_path}: no run here (no config.json); give the --workdir of a run"]
