"""NumPy archives: what was written is read; whatever else is there ends in one clear line."""

from __future__ import annotations

import io
import pathlib
import random
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_jax.runtime.errors import UserError
from vae_jax.runtime.npz import read_npz, write_npz

ARRAYS = {
    "mean": np.linspace(-1, 1, 60, dtype=np.float32).reshape(5, 12),
    "is_training": np.array([True, False]),
    "names": np.array(["one", "öther"]),
    "empty": np.zeros((0, 3), np.int64),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("npz") / "sub" / "arrays.npz"
    write_npz(path, **ARRAYS)
    return path


def npy(header: str, data: bytes = bytes(8), version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + len(header).to_bytes(2 if version[0] == 1 else 4, "little") + header.encode() + data


def read_member(folder: pathlib.Path, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> np.ndarray:
    with zipfile.ZipFile(folder / "made.npz", "w", method) as archive:
        archive.writestr("x.npy", data)
    return read_npz(folder / "made.npz", ["x"])["x"]


def test_arrays_come_back(path: pathlib.Path):
    again = read_npz(path, ARRAYS)
    assert again.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert again[name].dtype == array.dtype
        np.testing.assert_array_equal(again[name], array)
    assert read_npz(path, ["mean"]).keys() == {"mean"}
    assert [one.name for one in path.parent.iterdir()] == ["arrays.npz"]


def test_equal_arrays_give_equal_bytes_that_numpy_reads(path: pathlib.Path, tmp_path: pathlib.Path):
    write_npz(tmp_path / "again.npz", **ARRAYS)
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["mean"], ARRAYS["mean"])


def test_a_missing_file_or_array_and_too_large_ones_are_named(path: pathlib.Path, tmp_path: pathlib.Path):
    with pytest.raises(UserError, match=r"none\.npz: cannot be read \(No such file"):
        read_npz(tmp_path / "none.npz", ["mean"])
    with pytest.raises(UserError, match=r"damaged .*no item named 'other\.npy'"):
        read_npz(path, ["other"])
    with pytest.raises(UserError, match="the arrays take 368 bytes, more than 367"):
        read_npz(path, ["mean"], max_bytes=367)
    read_npz(path, ["mean"], max_bytes=368)
    with pytest.raises(UserError, match="cannot be written"):
        write_npz(path / "below" / "a.npz", **ARRAYS)


def test_nothing_is_unpickled(tmp_path: pathlib.Path):
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot be loaded when allow_pickle=False"):
        read_member(tmp_path, buffer.getvalue())


def header(descr: str = "'<f8'", shape: str = "(1,)", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}}}"


def test_the_bytes_that_the_damages_start_from_are_read(tmp_path: pathlib.Path):
    assert read_member(tmp_path, npy(header())) == [0.0]


MEMBERS = {
    "empty": b"",
    "no array": b"not an array at all",
    "huge shape": npy(header(shape=f"({2**50},)")),
    "overflowing shape": npy(header(shape=f"({2**62}, {2**62})")),
    "negative shape": npy(header(shape="(-1,)")),
    "items of no bytes": npy(header(descr="'<U0'", shape=f"({2**40},)"), b""),
    "cut": npy(header(shape="(2,)")),
    "goes on": npy(header(), bytes(9)),
    "a pickled dtype": npy(header(descr="'|O'")),
    "a dtype of nonsense": npy(header(descr="[('a', [('b', 7)])]")),
    "a dtype of numbers": npy(header(descr="(1, 2, 3)")),
    "a header that is no dict": npy("[1, 2]"),
    "a header that is no literal": npy("__import__('os')"),
    "an open header": npy("{'descr': ("),
    "a deep header": npy("(" * 9000),
    "an indented header": npy("  x\n y"),
    "a key without a hash": npy("{{}: 1}"),
    "a header of nulls": npy("\0" * 20),
    "a long header": npy(header() + " " * 20000),
    "a version from the future": npy(header(), version=b"\x09\x00"),
}


@pytest.mark.parametrize("data", MEMBERS.values(), ids=MEMBERS.keys())
def test_a_damaged_array_ends_in_one_line(tmp_path: pathlib.Path, data: bytes):
    with pytest.raises(UserError, match="damaged") as caught:
        read_member(tmp_path, data)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_no_damage_to_the_archive_is_a_traceback_or_another_array(tmp_path: pathlib.Path, method: int):
    expected = read_member(tmp_path, npy(header(shape="(20,)"), random.Random(0).randbytes(160)), method)
    path, rng = tmp_path / "made.npz", random.Random(1)
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1 :]
        for data in (changed, whole[:place]):
            path.write_bytes(data)
            try:
                found = read_npz(path, ["x"])["x"]
            except UserError:
                continue
            assert found.tobytes() == expected.tobytes()


@given(st.binary(max_size=200))
def test_any_bytes_end_in_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes):
    path = tmp_path_factory.getbasetemp() / "any.npz"
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        read_npz(path, ["x"])
