"""The folder of a run: what is refused there, what stays, what is removed."""

from __future__ import annotations

import copy
import json
import pathlib

import pytest
from builders import tune_bytes
from command_line import content

from configs import smoke
from vae_jax.data import corpus
from vae_jax.data.corpus import Corpus
from vae_jax.data.splits import Split
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import OUTPUT_MARK
from vae_jax.training import folds, run_dir
from vae_jax.training.run_dir import RunFolder


@pytest.fixture(scope="module")
def four_pieces() -> tuple[Corpus, Split]:
    source = corpus.synthetic_corpus(4, 0)
    return source, Split(train=(0, 2, 3), held_out=(1,))


@pytest.fixture
def config() -> dict:
    return copy.deepcopy(smoke.get_config().to_dict())


@pytest.fixture
def folder(tmp_path: pathlib.Path, config: dict, four_pieces: tuple[Corpus, Split]) -> RunFolder:
    return run_dir.open_run(str(tmp_path / "run"), config, *four_pieces)


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "..", "", "a/b", "a\0b", "x" * 500, "nul\n"])
def test_a_name_that_is_no_folder_of_runs_is_refused(name: str):
    with pytest.raises(UserError, match=r"config\.name must consist of letters"):
        run_dir.default_workdir({"name": name})
    assert run_dir.default_workdir({"name": "anthems-2.b"}) == str(pathlib.Path("runs", "anthems-2.b"))


@pytest.mark.parametrize(
    ("section", "field", "value", "named"),
    [
        ("representation", "num_notes", 8, "config.representation.num_notes is 150 there and 8 here"),
        ("model", "latent_dim", 3, "config.model.latent_dim is 2 there and 3 here"),
        ("model", "distortion", "mse", "config.model.distortion is 'msle' there and 'mse' here"),
        ("train", "average_decay", 0.5, "config.train.average_decay is 0.0 there and 0.5 here"),
    ],
)
def test_another_config_is_refused_by_its_field(folder, config, four_pieces, section, field, value, named):
    config[section][field] = value
    config["train"]["batch_size"] = 4
    before = content(folder.path)
    with pytest.raises(UserError) as caught:
        run_dir.open_run(str(folder.path), config, *four_pieces)
    assert named in str(caught.value)
    assert "config.train.batch_size is 5 there and 4 here" in str(caught.value)  # Every field that differs.
    assert content(folder.path) == before


def test_another_corpus_is_refused(folder, config):
    source = corpus.synthetic_corpus(5, 0)
    with pytest.raises(UserError, match=r"another corpus \(synthetic, 4 pieces there; synthetic, 5 pieces here\)"):
        run_dir.open_run(str(folder.path), config, source, Split(train=(0, 2, 3, 4), held_out=(1,)))


def test_the_same_files_by_another_path_are_the_same_run(folder, config, four_pieces):
    before = content(folder.path)
    config["data"]["path"] = "elsewhere"
    assert run_dir.open_run(str(folder.path), config, *four_pieces) == folder
    assert content(folder.path) == before


def test_the_number_of_a_fold_counts_where_there_are_folds(tmp_path, config, folder, four_pieces):
    config["data"]["fold"] = 0
    assert run_dir.open_run(str(folder.path), config, *four_pieces) == folder
    config["data"]["num_folds"] = 2
    one = str(tmp_path / "fold")
    run_dir.open_run(one, config, *four_pieces)
    config["data"]["fold"] = 1
    with pytest.raises(UserError, match=r"config\.data\.fold is 0 there and 1 here"):
        run_dir.open_run(one, config, *four_pieces)


@pytest.mark.parametrize(("data", "is_folded"), [
    ({"num_folds": 5}, True), ({"num_folds": 5, "fold": -1}, True), ({"num_folds": 5, "fold": 0}, False),
    ({"num_folds": 0, "fold": -1}, False), ({}, False), (None, False), ([5], False),
])  # fmt: skip
def test_a_config_of_folds(data, is_folded: bool):
    assert folds.is_folded({"data": data}) == is_folded == bool(folds.fold_configs({"data": data}))


def test_a_folder_of_folds_is_no_run(folder, config, four_pieces):
    config["data"] |= {"num_folds": 2, "fold": -1}
    (folder.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"holds a run for each fold; give one of them, such as .*fold_0"):
        run_dir.load_run(str(folder.path))
    assert run_dir.load_run(str(folder.path), allow_folds=True)[0] == folder
    (folder.path / "config.json").write_text("{}")
    assert run_dir.load_run(str(folder.path))[1] == {}


def test_leftovers_of_a_killed_run_are_removed_at_the_next_start(folder, config, four_pieces):
    (folder.plots / "deep").mkdir(parents=True)
    for path in (folder.path / ".metrics.json.abcd1234.tmp", folder.plots / "deep" / ".a.png.x_y_z012.tmp"):
        path.write_bytes(b"half")
    (folder.plots / "notes.tmp").write_text("mine")
    run_dir.open_run(str(folder.path), config, *four_pieces)
    there = sorted(path.name for path in folder.path.rglob("*") if path.is_file())
    assert there == [".lock", OUTPUT_MARK, "config.json", "notes.tmp", "run.json"]


@pytest.mark.parametrize(
    ("name", "text"), [("config.json", "{"), ("config.json", "[]"), ("run.json", "{"), ("run.json", "7")]
)
def test_a_damaged_run_is_refused(folder, name, text):
    (folder.path / name).write_text(text)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        run_dir.load_run(str(folder.path))


def test_a_run_is_no_part_of_a_corpus_around_it(config, four_pieces, tmp_path):
    """The second start, in a folder of songs that now holds the run, finds the corpus of the first."""
    (tmp_path / "tune.mid").write_bytes(tune_bytes(0))
    before = corpus.load_corpus(str(tmp_path))
    folder = run_dir.open_run(str(tmp_path / "runs" / "mine"), config, *four_pieces)
    folder.reconstructions.mkdir()
    (folder.reconstructions / "tune.original.mid").write_bytes(tune_bytes(1))
    assert corpus.load_corpus(str(tmp_path)).fingerprint == before.fingerprint
