"""The page of a run: what it packs, what it says, and that no text of a file becomes markup."""

from __future__ import annotations

import base64
import hashlib
import html
import html.parser
import json
import struct

import numpy as np
import pytest
from report_folders import add_music, make_run, melody

from vae_jax.data import corpus
from vae_jax.music import midi
from vae_jax.music.score import Tempo, make_notes, make_score
from vae_jax.report import decoded_points, page, pieces
from vae_jax.report.artifacts import pair_paths
from vae_jax.report.latent_map import LatentMap
from vae_jax.report.pieces import RunRecord
from vae_jax.runtime import files
from vae_jax.runtime.errors import UserError
from vae_jax.training.run_dir import RunFolder

IMAGE = "<img src=x onerror=alert(1)>"
SCRIPT = "</script><script>alert(2)</script><!--"


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
    size = page.write_report(folder, None)
    text = folder.report.read_text(encoding="utf-8")
    assert size == folder.report.stat().st_size
    return text, Tags(text)


# Packing.


def test_notes_are_packed_as_documented():
    notes = make_notes(
        [0, 480, 960], [480, 240, 96], [60, 72, 38], channel=[0, 0, 9], velocity=[127, 4, 64], program=56
    )
    score = make_score(480, notes, tempos=[Tempo(0, 1_000_000), Tempo(480, 500_000)])
    data = base64.b64decode(pieces.pack_notes(score))
    assert struct.unpack("<3I3H3B3B", data) == (
        *(0, 1000, 1500),
        *(1000, 250, 100),
        *(60, 72, 38),
        *(0 * 32 + 31, 0 * 32 + 1, 7 * 32 + 16),
    )


def test_a_note_longer_than_a_minute_is_cut_and_silence_is_nothing():
    long = make_score(480, make_notes([0], [480 * 200], [60]))
    assert struct.unpack("<IHBB", base64.b64decode(pieces.pack_notes(long)))[1] == 65_535
    assert pieces.pack_music(make_score(480, make_notes([], [], [])))["notes"] == ""


# What comes from files.


def test_no_text_of_a_file_becomes_markup(tmp_path):
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
    assert "cannot be read" in samples["broken"]["unreadable"]


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


def test_the_page_of_a_run_that_has_just_begun_names_what_is_missing(tmp_path):
    text, tags = written(make_run(tmp_path, {"one.mid": melody(60), "two.mid": melody(62)}))
    for sentence in (
        "This run has not been evaluated yet",
        "no <code>metrics.json</code>",
        "This folder holds no reconstructions yet",
        "No compositions",
        "This folder holds no samples yet",
        "No interpolations",
        "no <code>latents.npz</code>",
        "No epoch has been logged yet",
        "3 files: 2 loaded",
    ):
        assert sentence in text
    data = tags.data()
    assert (data["grid"], data["interpolations"], len(data["pieces"])) == (None, [], 2)


def test_scores_with_their_baselines_and_goals(tmp_path):
    folder = make_run(tmp_path, {"one.mid": melody(60), "two.mid": melody(62)})
    scores = {
        "pieces": 1, "latent_dim": 256, "kl_nats": 600.0, "active_units": 256,
        "note_f1_50ms": 0.951, "note_f1_50ms_interval": [0.9, 0.99],
        "note_recall_50ms": 0.94, "note_precision_50ms": 0.96,
        "note_f1_instrument": 0.8, "note_f1_grid": 0.85, "baseline_pca_note_f1_grid": 0.83,
        "ceiling_note_f1_50ms": 0.993, "baseline_pca_note_f1_50ms": 0.642,
    }  # fmt: skip
    composed = {
        "features": {
            "groove": {
                "training": 0.7,
                "held_out": 0.6,
                "composed": 0.75,
                "mean_interval": [0.5, 0.8],
                "mean_inside": True,
                "overlap_composed": 0.625,
            },
            "density": {
                "training": 4.0,
                "held_out": None,
                "composed": 9.0,
                "mean_interval": [3.0, 5.0],
                "mean_inside": False,
                "overlap_composed": None,
            },
            "polyphony": {"composed": None, "mean_interval": None, "mean_inside": None},
        },
        "memorization": {"two_bars": {"real": {"mean": 0.25}, "composed": {"mean": 0.125}, "exceeds_real": False}},
        "two_sample": {"left_out": {"halves": "one tune"}, "faults": {"logistic": ["no bot"]}},
        "bars": 32,
    }
    files.write_json(folder.metrics, {"held_out": scores, "training": scores, "composed": composed})  # fmt: skip
    text, _ = written(folder)
    gauges = [" ".join(Words(part).words) for part in text.split('<li class="gauge">')[1:]]
    titles = ("Notes Same", "Notes and instruments", "Grid cells Same", "Ceiling")
    by_title = {title: next(gauge for gauge in gauges if gauge.startswith(title)) for title in titles}
    assert "0.951 0.900 to 0.990 PCA 0.642 ceiling 0.993 training 0.951 goal 0.90 met" in by_title["Notes Same"]
    assert "goal 0.90 not met" in by_title["Notes and instruments"]
    assert "goal PCA + 0.05 not met" in by_title["Grid cells Same"]
    assert "goal 0.99 met" in by_title["Ceiling"]
    words = " ".join(Words(text).words)
    assert "On 1 held-out piece 94.0% of the notes are reconstructed" in words
    assert "bars 32" in words
    assert "Features: 1 of 2 composed means are inside" in words
    assert "groove 0.700 0.600 0.500 to 0.800 0.750 yes density 4.000 – 3.000 to 5.000 9.000 no" in words
    assert "Left out: polyphony (too few pieces)." in words
    assert "features score overlap composed groove 0.625 density –" in words
    assert "memorization: two bars score mean real 0.250 composed 0.125" in words
    assert "memorization: two bars score value exceeds real no" in words
    assert "halves: one tune logistic: no bot" in words


class Words(html.parser.HTMLParser):
    """The words that the page displays."""

    def __init__(self, text: str):
        super().__init__()
        self.words: list[str] = []
        self.feed(text.partition("<script")[0])

    def handle_data(self, data):
        self.words += data.split()


def test_where_space_is_short_held_out_pieces_come_first(tmp_path, monkeypatch):
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
        page.write_report(folder, None)


# Between pieces.


class Decoder:
    """Stands for a model: keeps the latents that it is given."""

    def decode_scores(self, latents):
        self.latents = latents
        return [melody(60) for _ in latents]


def record_with(tmp_path, **latents) -> RunRecord:
    folder = make_run(tmp_path, {"one.mid": melody(60), "two.mid": melody(62), "three.mid": melody(64)})
    np.savez(folder.latents, is_training=np.ones(len(latents["piece"]), bool), **latents)
    return pieces.read_run(folder.path)


def test_a_point_of_the_grid_on_a_piece_is_that_piece_and_one_between_is_a_mean(tmp_path):
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(60, 5)).astype(np.float32)
    record = record_with(tmp_path, mean=mean, piece=np.repeat([0, 1, 2], 20))
    points = np.array([[0.0, 0.0], [7.0, 0.0], [3.5, 7.0]])
    decoder = Decoder()
    grid = decoded_points.grid(decoder, record, LatentMap(points, np.zeros(3, int), np.zeros(1), np.zeros((0, 4))))
    assert grid is not None
    cells = {tuple(cell["point"]): z for cell, z in zip(grid["cells"], decoder.latents, strict=True)}
    assert len(cells) == 64
    # Sixteen examples of each, without the first, a pick-up often.
    np.testing.assert_allclose(cells[0.0, 0.0], mean[1:17], rtol=1e-5)
    np.testing.assert_allclose(cells[7.0, 0.0], mean[21:37], rtol=1e-5)
    middle = cells[3.0, 0.0]
    lengths = [np.linalg.norm(mean[n : n + 16], axis=1) for n in (1, 21, 41)]
    assert np.all(np.linalg.norm(middle, axis=1) <= np.max(lengths, axis=0) + 1e-5)
    assert np.all(np.linalg.norm(middle, axis=1) >= np.min(lengths, axis=0) - 1e-5)
    for cell in grid["cells"]:
        assert sum(weight for _, weight in cell["near"]) == pytest.approx(1, abs=0.002)


def test_a_map_that_is_the_latent_space_is_decoded_as_it_is(tmp_path):
    mean = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], np.float32)
    record = record_with(tmp_path, mean=mean, piece=np.arange(3))
    decoder = Decoder()
    grid = decoded_points.grid(decoder, record, decoded_points.map_run(record, 3))
    assert grid is not None and grid["is_latent_space"]
    for cell, z in zip(grid["cells"], decoder.latents, strict=True):
        np.testing.assert_allclose(z, [cell["point"]], atol=1e-5)
    _, tags = written(record.folder)  # With neither scores nor a model there is a map all the same.
    assert sorted(piece["point"] for piece in tags.data()["pieces"]) == [[0, 0], [0, 2], [1, 0]]
    assert "latent-map" in [attributes.get("id") for _, attributes in tags.tags]


def test_latents_without_every_piece_give_no_map(tmp_path):
    record = record_with(tmp_path, mean=np.zeros((2, 2), np.float32), piece=np.array([0, 2]))
    assert decoded_points.map_run(record, 3) is None
