"""Checkpoints: whole or not at all, verified before use."""

from __future__ import annotations

import json
import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.runtime import files
from vae_jax.runtime.errors import UserError
from vae_jax.training import checkpointing
from vae_jax.training.step import TrainState


def state_at(step: int, width: int = 3) -> TrainState:
    values = np.random.default_rng(step).normal(size=(width, 2)).astype(np.float32)
    values[0, 0] = [np.pi, -0.0, 1e-42][step % 3]  # A number that is not round, a signed zero, a subnormal.
    return TrainState(
        step=jnp.asarray(step, jnp.int32),
        params={"dense": {"kernel": jnp.asarray(values), "bias": jnp.full(width, step, jnp.bfloat16)}},
        constants={"constants": {"features": jnp.arange(step, step + 4, dtype=jnp.int32)}},
        opt_state=(jnp.asarray(values**2), {"count": jnp.asarray(step, jnp.int32)}),
        average=(),
    )


def abstract(state: TrainState) -> TrainState:
    return jax.eval_shape(lambda: state)


def assert_same_bits(state: TrainState, expected: TrainState) -> None:
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    for leaf, other in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        assert leaf.dtype == other.dtype
        assert leaf.shape == other.shape
        assert np.asarray(leaf).tobytes() == np.asarray(other).tobytes()


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """Checkpoints of the steps 1 and 2."""
    for step in (1, 2):
        checkpointing.save(tmp_path / "checkpoints", step, state_at(step), keep=5)
    return tmp_path / "checkpoints"


def largest_file(path: pathlib.Path) -> pathlib.Path:
    return max((file for file in (path / "state").rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def flip_a_bit(path: pathlib.Path) -> None:
    file = largest_file(path)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut_a_file(path: pathlib.Path) -> None:
    file = largest_file(path)
    file.write_bytes(file.read_bytes()[:-1])


def remove_a_file(path: pathlib.Path) -> None:
    largest_file(path).unlink()


def remove_everything(path: pathlib.Path) -> None:
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()


def remove_the_manifest(path: pathlib.Path) -> None:
    (path / "manifest.json").unlink()


def cut_the_manifest(path: pathlib.Path) -> None:
    (path / "manifest.json").write_bytes((path / "manifest.json").read_bytes()[:50])


def empty_the_manifest(path: pathlib.Path) -> None:
    (path / "manifest.json").write_text("{}")


def write_a_list_for_the_manifest(path: pathlib.Path) -> None:
    (path / "manifest.json").write_text("[]")


def forget_the_arrays(path: pathlib.Path) -> None:
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"arrays"', '"array"'))


DAMAGES = [
    flip_a_bit,
    cut_a_file,
    remove_a_file,
    remove_everything,
    remove_the_manifest,
    cut_the_manifest,
    empty_the_manifest,
    write_a_list_for_the_manifest,
    forget_the_arrays,
]


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_state_comes_back_bit_for_bit(tmp_path: pathlib.Path, step: int):
    checkpointing.save(tmp_path, step, state_at(step), keep=1)
    restored = checkpointing.restore(tmp_path, abstract(state_at(step)))
    assert restored is not None
    assert restored[1] == step
    assert_same_bits(restored[0], state_at(step))


def test_the_newest_is_restored(folder: pathlib.Path):
    state, step = checkpointing.restore(folder, abstract(state_at(0)))
    assert step == 2
    assert_same_bits(state, state_at(2))


def test_where_there_is_none_there_is_nothing_to_restore(tmp_path: pathlib.Path):
    assert checkpointing.restore(tmp_path / "missing", abstract(state_at(0))) is None
    assert checkpointing.restore(tmp_path, abstract(state_at(0))) is None


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_passed_over_with_a_warning(folder: pathlib.Path, damage, capsys: pytest.CaptureFixture[str]):
    damage(folder / "00000002")
    state, step = checkpointing.restore(folder, abstract(state_at(0)))
    assert step == 1
    assert_same_bits(state, state_at(1))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: checkpoint {folder / '00000002'} is damaged (")


def test_the_damaged_file_is_named(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    name = largest_file(folder / "00000002").name
    flip_a_bit(folder / "00000002")
    checkpointing.restore(folder, abstract(state_at(0)))
    assert f"{name} has changed" in capsys.readouterr().err


def test_a_bit_flipped_in_the_manifest_is_never_a_traceback(folder: pathlib.Path):
    manifest = folder / "00000002" / "manifest.json"
    whole = manifest.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 80)):
        manifest.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
        restored = checkpointing.restore(folder, abstract(state_at(0)))
        assert_same_bits(restored[0], state_at(restored[1]))


def test_where_all_are_damaged_nothing_is_restored(folder: pathlib.Path):
    flip_a_bit(folder / "00000001")
    remove_a_file(folder / "00000002")
    with pytest.raises(UserError, match="every checkpoint is damaged"):
        checkpointing.restore(folder, abstract(state_at(0)))


def test_another_models_state_is_refused_by_the_field_that_differs(folder: pathlib.Path):
    with pytest.raises(UserError, match=r"\['bias'\] is bfloat16 \[3\] there and bfloat16 \[4\] here") as caught:
        checkpointing.restore(folder, abstract(state_at(0, width=4)).replace(opt_state=abstract(state_at(0)).opt_state))
    assert len(str(caught.value).splitlines()) == 1
    other = abstract(state_at(0))
    with pytest.raises(UserError, match=r"'extra'\] is nothing there and float32 \[1\] here"):
        checkpointing.restore(
            folder, other.replace(params=other.params | {"extra": jax.ShapeDtypeStruct((1,), "float32")})
        )


def test_a_checkpoint_of_an_older_version_is_refused_in_one_line(folder: pathlib.Path):
    path = folder / "00000002" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["manifest_sha256"]
    manifest["arrays"] = {name: text.split(" ", 1) for name, text in manifest["arrays"].items()}
    path.write_text(json.dumps(manifest | {"manifest_sha256": files.hash_json(manifest)}))
    with pytest.raises(UserError, match=r"00000002: a checkpoint of another model, optimiser or version") as caught:
        checkpointing.restore(folder, abstract(state_at(0)))
    assert len(str(caught.value).splitlines()) == 1


def test_a_checkpoint_is_on_the_disk_before_older_ones_are_deleted(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    flushed: set[int] = set()
    fsync, rmtree, missing = os.fsync, shutil.rmtree, []

    def flush(handle: int) -> None:
        flushed.add(os.fstat(handle).st_ino)
        fsync(handle)

    def delete(path: pathlib.Path, *args: object, **options: object) -> None:
        if path.name.startswith("0000000"):
            new = folder / "00000003"
            missing.append([one for one in (*new.rglob("*"), new, folder) if one.stat().st_ino not in flushed])
        rmtree(path, *args, **options)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(shutil, "rmtree", delete)
    checkpointing.save(folder, 3, state_at(3), keep=1)
    assert checkpointing.steps(folder) == [3]
    assert missing == [[], []]


def test_only_the_newest_are_kept(tmp_path: pathlib.Path):
    for step in (5, 10, 100):
        checkpointing.save(tmp_path, step, state_at(step), keep=2)
    assert checkpointing.steps(tmp_path) == [10, 100]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000010", "00000100"]


def test_a_damaged_newer_one_does_not_outlive_the_one_that_was_saved_after_it(folder: pathlib.Path):
    checkpointing.save(folder, 9, state_at(9), keep=5)
    flip_a_bit(folder / "00000009")
    checkpointing.save(folder, 3, state_at(3), keep=1)  # Training went back to step 2 and made another.
    assert checkpointing.steps(folder) == [3]
    assert_same_bits(checkpointing.restore(folder, abstract(state_at(0)))[0], state_at(3))


def test_what_belongs_to_a_state_is_saved_with_it(folder: pathlib.Path):
    extra = {"history": [[3, {"loss": 0.1 + 0.2}]]}
    checkpointing.save(folder, 3, state_at(3), keep=1, extra=extra)
    assert checkpointing.read_extra(folder, 3) == extra
    manifest = folder / "00000003" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("0.30000000000000004", "0.31"))
    with pytest.raises(UserError, match="every checkpoint is damaged"):
        checkpointing.restore(folder, abstract(state_at(0)))


def test_a_deletion_that_was_killed_leaves_nothing(folder: pathlib.Path):
    (folder / "00000001").rename(folder / "00000001.old.unfinished")
    assert checkpointing.steps(folder) == [2]
    checkpointing.remove_leftovers(folder)
    assert [path.name for path in folder.iterdir()] == ["00000002"]


def test_saving_a_step_again_replaces_it(folder: pathlib.Path):
    changed = state_at(2).replace(params=state_at(1).params)
    checkpointing.save(folder, 2, changed, keep=5)
    assert_same_bits(checkpointing.restore(folder, abstract(changed))[0], changed)


def test_what_a_killed_save_left_is_no_checkpoint_and_is_removed(folder: pathlib.Path):
    (folder / "00000003.unfinished" / "state").mkdir(parents=True)
    (folder / "00000003.unfinished" / "state" / "half").write_bytes(b"half")
    assert checkpointing.steps(folder) == [1, 2]
    assert checkpointing.restore(folder, abstract(state_at(0)))[1] == 2
    checkpointing.save(folder, 3, state_at(3), keep=2)
    assert sorted(path.name for path in folder.iterdir()) == ["00000002", "00000003"]
    (folder / "00000004.unfinished").mkdir()
    checkpointing.remove_leftovers(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["00000002", "00000003"]
    checkpointing.remove_leftovers(folder / "missing")


def test_a_save_that_fails_leaves_the_older_ones(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpointing.files, "write_json", fail)
    with pytest.raises(UserError, match=r"00000003: the checkpoint could not be saved .*older ones are intact"):
        checkpointing.save(folder, 3, state_at(3), keep=1)
    monkeypatch.undo()
    assert checkpointing.steps(folder) == [1, 2]
    assert checkpointing.restore(folder, abstract(state_at(0)))[1] == 2


def test_a_folder_that_cannot_be_made_is_told(tmp_path: pathlib.Path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="could not be saved"):
        checkpointing.save(tmp_path / "file" / "checkpoints", 1, state_at(1), keep=1)


def test_a_checkpoint_of_another_dtype_is_refused_by_the_array(tmp_path: pathlib.Path):
    checkpointing.save(tmp_path, 1, {"kernel": jnp.ones(3)}, keep=1)
    with pytest.raises(UserError, match=r"'kernel'\] is float32 \[3\] there and bfloat16 \[3\] here"):
        checkpointing.restore(tmp_path, {"kernel": jax.ShapeDtypeStruct((3,), jnp.bfloat16)})
