"""Configs, names and paths that nobody means well with: one line each, and nothing overwritten."""

from __future__ import annotations

import copy
import math
import pathlib

import pytest
from test_commands import assert_one_error, command

from configs import anthems, smoke
from vae_jax.data import corpus
from vae_jax.runtime.errors import UserError
from vae_jax.training import checkpointing, run_dir
from vae_jax.training.experiment import build_experiment

HOSTILE = {
    int: [-1, 0, 2**31, 2**63, 10**30],
    float: [-1.0, 0.0, math.nan, math.inf, 1e300],
    str: ["", "../../x", "\0", "no\nsuch"],
}


def hostile_configs(config: dict) -> list[tuple[str, dict]]:
    """The config with one field after another changed to each hostile value of its type."""
    changed = []
    for section, fields in config.items():
        for name, value in fields.items() if isinstance(fields, dict) else [("", fields)]:
            for hostile in HOSTILE.get(type(value), []):
                one = copy.deepcopy(config)
                (one[section] if name else one)[name or section] = hostile
                changed.append((f"{section}.{name}={hostile!r}", one))
    return changed


@pytest.mark.parametrize("module", [smoke, anthems])
def test_any_hostile_value_is_refused_in_one_line_or_can_be_built(module):
    refused = []
    for what, config in hostile_configs(module.get_config().to_dict()):
        try:
            experiment = build_experiment(config)
            experiment.num_steps(100)
        except UserError as error:
            refused.append((what, str(error)))
    assert len(refused) > 50
    assert [what for what, reason in refused if len(reason.splitlines()) != 1] == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**32, 10**30])
@pytest.mark.parametrize("field", ["optimizer.learning_rate", "loss.reg_factor", "composer.train.batch_size"])
def test_a_number_without_measure_is_refused_by_its_field(field: str, value: float):
    config = anthems.get_config().to_dict()
    *sections, name = field.split(".")
    place = config
    for section in sections:
        place = place[section]
    place[name] = value
    with pytest.raises(UserError, match=rf"config\.{field.replace('.', chr(92) + '.')} must be a number below"):
        build_experiment(config)


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "..", "", "a/b", "a\0b", "x" * 500, "nul\n"])
def test_a_name_that_is_no_folder_of_runs_is_refused(name: str):
    with pytest.raises(UserError, match=r"config\.name must consist of letters"):
        run_dir.default_workdir({"name": name})
    assert run_dir.default_workdir({"name": "anthems-2.b"}) == str(pathlib.Path("runs", "anthems-2.b"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"representation": {"name": "events", "num_notes": 8}},
            "config.representation.num_notes is 150 there and 8 here",
        ),
        ({"model": {"latent_dim": 3}}, "config.model.latent_dim is 2 there and 3 here"),
        ({"loss": {"reconstruction": "mse"}}, "config.loss.reconstruction is 'msle' there and 'mse' here"),
        ({"train": {"average_decay": 0.5}}, "config.train.average_decay is 0.0 there and 0.5 here"),
    ],
)
def test_another_config_in_a_runs_folder_is_refused_by_its_field(tmp_path: pathlib.Path, change: dict, named: str):
    config = smoke.get_config().to_dict()
    source = corpus.synthetic_corpus(4, 0)
    split = corpus.split_corpus(source, 1, 0)
    run_dir.open_run(str(tmp_path / "run"), config, source, split)
    for section, fields in change.items():
        config[section] |= fields
    with pytest.raises(UserError) as caught:
        run_dir.open_run(str(tmp_path / "run"), config, source, split)
    assert named in str(caught.value)


def test_what_a_run_does_about_a_nan_may_be_changed(tmp_path: pathlib.Path):
    config = smoke.get_config().to_dict()
    source = corpus.synthetic_corpus(4, 0)
    split = corpus.split_corpus(source, 1, 0)
    folder = run_dir.open_run(str(tmp_path / "run"), config, source, split)
    config["train"]["on_nan"] = "restore"
    assert run_dir.open_run(str(tmp_path / "run"), config, source, split) == folder


def test_leftovers_of_a_killed_run_are_removed_at_the_next_start(tmp_path: pathlib.Path):
    config = smoke.get_config().to_dict()
    source = corpus.synthetic_corpus(4, 0)
    split = corpus.split_corpus(source, 1, 0)
    folder = run_dir.open_run(str(tmp_path / "run"), config, source, split)
    (folder.plots / "deep").mkdir(parents=True)
    for path in (folder.path / ".metrics.json.abcd1234.tmp", folder.plots / "deep" / ".a.png.x_y_z012.tmp"):
        path.write_bytes(b"half")
    kept = folder.plots / "notes.tmp"
    kept.write_text("mine")
    run_dir.open_run(str(tmp_path / "run"), config, source, split)
    there = sorted(path.name for path in folder.path.rglob("*") if path.is_file())
    assert there == [".lock", "config.json", "notes.tmp", "run.json"]


def test_a_checkpoint_of_another_dtype_is_refused_by_the_array(tmp_path: pathlib.Path):
    import jax
    import jax.numpy as jnp

    checkpointing.save(tmp_path, 1, {"kernel": jnp.ones(3)}, keep=1)
    with pytest.raises(UserError, match=r"'kernel'\] is float32 \[3\] there and bfloat16 \[3\] here"):
        checkpointing.restore(tmp_path, {"kernel": jax.ShapeDtypeStruct((3,), jnp.bfloat16)})


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config.name=../../evil"],
        ["--workdir=/dev/null"],
        ["--workdir=/dev/null/run"],
        ["--workdir=" + "x" * 300],
        ["--config.data.path=/dev/zero"],
        ["--config.train.num_epochs=999999999999999999"],
        ["--config.train=7"],
        ["--config.train.on_nan=ignore"],
    ],
    ids=lambda arguments: arguments[0][:40].replace("/", "|"),
)
def test_a_hostile_override_is_one_line(tmp_path: pathlib.Path, arguments: list[str]):
    workdir = [] if arguments[0].startswith(("--workdir", "--config.name")) else [f"--workdir={tmp_path / 'run'}"]
    result = command(tmp_path / "cache", "run.py", "--config=configs/smoke.py", *workdir, *arguments)
    assert_one_error(result)
    assert not (tmp_path / "run").exists()
