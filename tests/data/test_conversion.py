"""Conversions are kept, and whatever is wrong with what is kept is converted again."""

from __future__ import annotations

import pathlib

import pytest
from builders import tune_bytes
from notations import ABC, KERN, mxl, tune_xml

from vae_jax.data import conversion, corpus, parallel
from vae_jax.music import notation
from vae_jax.music.notation import NotationError
from vae_jax.runtime.errors import UserError


@pytest.fixture
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("VAE_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The suffixes of the files that are converted."""
    done: list[str] = []
    convert = notation.read_notation

    def count(data: bytes, suffix: str):
        done.append(suffix)
        return convert(data, suffix)

    monkeypatch.setattr(notation, "read_notation", count)
    return done


def kept(cache: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_a_file_is_converted_once(cache: pathlib.Path, conversions: list[str]):
    assert not conversion.is_kept(ABC, ".abc")
    first = conversion.read(ABC, ".abc")
    assert conversion.is_kept(ABC, ".abc")
    assert conversion.read(ABC, ".abc") == first
    assert conversion.read(KERN, ".krn") != first
    assert conversions == [".abc", ".krn"]
    assert len(kept(cache)) == 2


def test_a_refusal_is_kept_too(cache: pathlib.Path, conversions: list[str]):
    for _ in range(2):
        with pytest.raises(NotationError, match="its root is <a>"):
            conversion.read(b"<a/>", ".xml")
    assert conversions == [".xml"]
    assert len(kept(cache)) == 1


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:40], lambda data: data[:-1] + b"?"])
def test_what_is_damaged_is_converted_again(damage, cache: pathlib.Path, conversions: list[str]):
    first = conversion.read(ABC, ".abc")
    (path,) = kept(cache)
    path.write_bytes(damage(path.read_bytes()))
    assert conversion.read(ABC, ".abc") == first
    assert conversions == [".abc", ".abc"]
    assert conversion.read(ABC, ".abc") == first
    assert len(conversions) == 2


@pytest.mark.usefixtures("cache")
def test_other_code_converts_anew(conversions: list[str], monkeypatch: pytest.MonkeyPatch):
    conversion.read(ABC, ".abc")
    monkeypatch.setattr(conversion, "_version", lambda: "another")
    conversion.read(ABC, ".abc")
    assert len(conversions) == 2


def test_nothing_is_kept_where_the_cache_is_off(cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VAE_JAX_CACHE", "off")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    conversion.read(ABC, ".abc")
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("VAE_JAX_CACHE", str(tmp_path / "file"))
    assert len(conversion.read(ABC, ".abc").score.notes) == 7


def test_a_conversion_without_end_is_refused_and_not_kept(cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    def never(data: bytes, suffix: str):
        while True:
            try:
                sum(range(1000))
            except Exception:  # As some code of music21 does.
                continue

    monkeypatch.setattr(notation, "read_notation", never)
    monkeypatch.setattr(conversion, "MIN_CPU_SEC", 0.1)
    with pytest.raises(NotationError, match=r"not read within 0\.1 s of processor time"):
        conversion.read(ABC, ".abc")
    assert not kept(cache)


@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="memory is limited on Linux only")
def test_a_conversion_that_takes_all_memory_is_refused_and_not_kept(
    cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(notation, "read_notation", lambda data, suffix: bytearray(2**34))
    with pytest.raises(NotationError, match="not read within 2 GiB of memory"):
        conversion.read(ABC, ".abc")
    assert not kept(cache)
    assert len(bytearray(2**32)) == 2**32  # The limit is gone; this memory is never touched.


# In a corpus.


@pytest.fixture
def mixed(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "mixed"
    folder.mkdir()
    book = b"M:4/4\nL:1/4\n\n" + b"\n".join(b"X:%d\nT:Tune\nK:C\nCDEF|GABc|\n" % n for n in (3, 7))
    files = {"a.mid": tune_bytes(), "b.kar": tune_bytes(1), "c.mxl": mxl(tune_xml(2)), "d.musicxml": tune_xml(3)}
    files |= {"e.abc": ABC, "f.krn": KERN, "g.abc": book, "h.xml": b"<project/>"}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.usefixtures("cache")
def test_a_folder_of_all_notations(mixed: pathlib.Path):
    files = {file.path: file for file in corpus.load_corpus(str(mixed)).files}
    names = ["a.mid", "b.kar", "c.mxl", "d.musicxml", "e.abc", "f.krn", "g.0001.abc", "g.0002.abc", "h.xml"]
    assert list(files) == names
    assert [file.notes for file in files.values()] == [40, 40, 40, 40, 7, 7, 8, 8, 0]
    assert files["h.xml"].reasons == ("no score in MusicXML's partwise form (its root is <project>)",)


@pytest.mark.usefixtures("cache")
def test_workers_convert_what_one_process_converts(mixed: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpus, "MIN_POOL_BYTES", 1000)
    monkeypatch.setattr(parallel, "num_cores", lambda: 2)
    together = corpus.load_corpus(str(mixed)).files
    monkeypatch.setattr(corpus, "MIN_POOL_BYTES", 2**30)
    assert corpus.load_corpus(str(mixed)).files == together


@pytest.mark.usefixtures("cache")
def test_what_is_kept_costs_no_processes(mixed: pathlib.Path):
    source = corpus.sources.list_source(str(mixed))
    before = corpus._cost(source)
    corpus.read_source(source)
    assert corpus._cost(source) == sum(file.size for file in source.files) < before


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", ["c.mxl", "g.abc"])
def test_a_single_file_of_another_notation(mixed: pathlib.Path, name: str):
    loaded = corpus.load_corpus(str(mixed / name))
    assert len(loaded.pieces) == {"c.mxl": 1, "g.abc": 2}[name]


@pytest.mark.usefixtures("cache")
def test_one_piece_is_not_picked_from_a_book(mixed: pathlib.Path):
    assert len(corpus.load_piece(str(mixed / "c.mxl")).score.notes) == 40
    with pytest.raises(UserError, match=r"g\.abc: a book of 2 tunes; give a file of one"):
        corpus.load_piece(str(mixed / "g.abc"))
