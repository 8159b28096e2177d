"""Corpora: folders, zips and single files, good and hostile."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import zipfile
from collections.abc import Iterator

import pytest
from builders import tune, tune_bytes, write_zip

from vae_jax.data import corpus as corpus_lib
from vae_jax.data import sources
from vae_jax.data.config import DataConfig
from vae_jax.data.corpus import Corpus, load_corpus
from vae_jax.music import midi
from vae_jax.music.score import make_notes, make_score, transpose
from vae_jax.runtime import files as files_lib
from vae_jax.runtime.errors import UserError


def statuses(corpus: Corpus) -> dict[str, str]:
    return {file.path: file.status for file in corpus.files}


def reason(corpus: Corpus, path: str) -> str:
    (file,) = (file for file in corpus.files if file.path == path)
    assert file.score is None
    return file.reasons[0]


class ExpiredError(BaseException):
    """Raised by the clock; nothing in the product catches it."""


@contextlib.contextmanager
def seconds_at_most(seconds: int) -> Iterator[None]:
    """Ends a test that would wait for ever."""

    def expire(*_: object) -> None:
        raise ExpiredError(f"took more than {seconds} s")

    previous = signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


# Folders and single files.


def test_a_folder_is_read_recursively_and_suffixes_in_any_case(tmp_path: pathlib.Path):
    for n, name in enumerate(["b.mid", "a/c.MID", "a/d/e.Midi", "f.RMI", "g.kar"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(tune_bytes(n))
    (tmp_path / "notes.txt").write_text("no music")
    (tmp_path / "a" / "._c.mid").write_bytes(b"what macOS leaves")
    corpus = load_corpus(str(tmp_path))
    assert [file.path for file in corpus.files] == ["a/c.MID", "a/d/e.Midi", "b.mid", "f.RMI", "g.kar"]
    assert [piece.score for piece in corpus.pieces] == [tune(1), tune(2), tune(0), tune(3), tune(4)]
    assert corpus.name == tmp_path.name


def test_a_single_file_is_a_corpus_of_one(tmp_path: pathlib.Path):
    (tmp_path / "one.mid").write_bytes(tune_bytes())
    corpus = load_corpus(str(tmp_path / "one.mid"))
    assert [(piece.path, piece.label, piece.score) for piece in corpus.pieces] == [("one.mid", "one", tune(0))]


def test_every_file_has_a_status_and_reasons(tmp_path: pathlib.Path):
    (tmp_path / "good.mid").write_bytes(tune_bytes())
    (tmp_path / "junk_before.mid").write_bytes(b"\0\0\0" + tune_bytes(1))
    (tmp_path / "text.mid").write_text("Dear diary,")
    (tmp_path / "silent.mid").write_bytes(midi.write_midi(make_score(480, make_notes([], [], []))))
    corpus = load_corpus(str(tmp_path))
    assert statuses(corpus) == {
        "good.mid": "loaded",
        "junk_before.mid": "repaired",
        "silent.mid": "refused",
        "text.mid": "refused",
    }
    assert corpus.files[1].reasons == ("bytes skipped before the header: 3",)
    assert reason(corpus, "text.mid") == "not a MIDI file (no MThd header)"
    assert reason(corpus, "silent.mid") == "the file holds no note"
    assert [piece.path for piece in corpus.pieces] == ["good.mid", "junk_before.mid"]


def test_an_empty_folder_is_refused(tmp_path: pathlib.Path):
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(UserError, match="no music file found"):
        load_corpus(str(tmp_path))


def test_a_folder_without_a_usable_file_is_refused_with_the_first_reason(tmp_path: pathlib.Path):
    (tmp_path / "a.mid").write_text("text")
    (tmp_path / "b.mid").write_text("text")
    with pytest.raises(UserError, match=r"no usable music file among 2 \(a.mid: not a MIDI file"):
        load_corpus(str(tmp_path))


def test_a_path_that_is_not_there_is_refused(tmp_path: pathlib.Path):
    with pytest.raises(UserError, match="no such file or folder"):
        load_corpus(str(tmp_path / "missing"))


def test_an_unreadable_path_is_refused(tmp_path: pathlib.Path):
    with pytest.raises(UserError, match="cannot be read"):
        load_corpus(str(tmp_path / ("long" * 200)))


def test_an_unreadable_file_is_refused_by_name_while_others_load(tmp_path: pathlib.Path):
    (tmp_path / "good.mid").write_bytes(tune_bytes())
    (tmp_path / "gone.mid").symlink_to(tmp_path / "nowhere.mid")
    corpus = load_corpus(str(tmp_path))
    assert statuses(corpus) == {"gone.mid": "refused", "good.mid": "loaded"}
    assert reason(corpus, "gone.mid").startswith("cannot be read")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_refused_and_not_waited_for(tmp_path: pathlib.Path):
    os.mkfifo(tmp_path / "pipe.mid")
    (tmp_path / "good.mid").write_bytes(tune_bytes())
    with seconds_at_most(20):
        corpus = load_corpus(str(tmp_path))
        assert statuses(corpus) == {"good.mid": "loaded", "pipe.mid": "refused"}
        assert reason(corpus, "pipe.mid") == "not a regular file"
        with pytest.raises(UserError, match="neither a file nor a folder"):
            load_corpus(str(tmp_path / "pipe.mid"))


def test_a_huge_file_is_refused_by_its_size(tmp_path: pathlib.Path):
    (tmp_path / "good.mid").write_bytes(tune_bytes())
    with (tmp_path / "huge.mid").open("wb") as file:
        file.truncate(2**40)  # A sparse file: it takes no room on the disk.
    assert "more than the limit" in reason(load_corpus(str(tmp_path)), "huge.mid")


def test_too_many_files_are_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "MAX_FILES", 2)
    for n in range(3):
        (tmp_path / f"{n}.mid").write_bytes(tune_bytes(n))
    with pytest.raises(UserError, match="more than 2 music files"):
        load_corpus(str(tmp_path))


# Zips.


def test_a_zip_is_read_and_what_is_no_midi_is_passed_over(tmp_path: pathlib.Path):
    members = {"x/B.mid": tune_bytes(1), ".Rhistory": b"q()", "x/.Rhistory": b"", "x/": b"", "x/a.MID": tune_bytes(0)}
    corpus = load_corpus(str(write_zip(tmp_path / "songs.zip", members)))
    assert statuses(corpus) == {"x/B.mid": "loaded", "x/a.MID": "loaded"}
    assert [piece.label for piece in corpus.pieces] == ["B", "a"]


def test_the_archive_of_the_anthems_has_135_files(anthem_corpus: Corpus):
    assert len(anthem_corpus.files) == len(anthem_corpus.pieces) == 135
    assert anthem_corpus.pieces[0].label == "Afghanistan"
    assert not [file.path for file in anthem_corpus.files if "Rhistory" in file.path]


def test_a_zip_writes_nothing_whatever_its_members_are_called(tmp_path: pathlib.Path):
    (tmp_path / "inner").mkdir()
    members = {"../evil.mid": tune_bytes(0), "/tmp/vae_jax_evil.mid": tune_bytes(1), "C:\\evil.mid": tune_bytes(2)}
    path = write_zip(tmp_path / "inner" / "evil.zip", members)
    assert len(load_corpus(str(path)).pieces) == 3
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["evil.zip", "inner"]
    assert not pathlib.Path("/tmp/vae_jax_evil.mid").exists()


def test_an_encrypted_member_is_refused_by_name(tmp_path: pathlib.Path):
    path = write_zip(tmp_path / "locked.zip", {"a.mid": tune_bytes(0), "b.mid": tune_bytes(1)})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # The flag in the first entry of the central directory.
    path.write_bytes(data)
    corpus = load_corpus(str(path))
    assert statuses(corpus) == {"a.mid": "refused", "b.mid": "loaded"}
    assert reason(corpus, "a.mid") == "encrypted"


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: pathlib.Path):
    path = write_zip(tmp_path / "bomb.zip", {"bomb.mid": bytes(2**20), "good.mid": tune_bytes()})
    corpus = load_corpus(str(path))
    assert statuses(corpus) == {"bomb.mid": "refused", "good.mid": "loaded"}
    assert "zip bomb" in reason(corpus, "bomb.mid")


def test_a_member_beyond_the_size_limit_is_refused(tmp_path: pathlib.Path):
    huge = os.urandom(2**16) * 257
    path = write_zip(tmp_path / "huge.zip", {"huge.mid": huge, "good.mid": tune_bytes()}, zipfile.ZIP_STORED)
    corpus = load_corpus(str(path))
    assert statuses(corpus) == {"good.mid": "loaded", "huge.mid": "refused"}
    assert "more than the limit" in reason(corpus, "huge.mid")


def test_members_beyond_the_limit_on_their_sum_are_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "MAX_ZIP_TOTAL_BYTES", len(tune_bytes(0)) + 10)
    corpus = load_corpus(str(write_zip(tmp_path / "many.zip", {f"{n}.mid": tune_bytes(n) for n in range(3)})))
    assert statuses(corpus) == {"0.mid": "loaded", "1.mid": "refused", "2.mid": "refused"}
    assert "total size" in reason(corpus, "1.mid")


def test_too_many_members_are_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "MAX_ZIP_MEMBERS", 2)
    path = write_zip(tmp_path / "many.zip", {f"{n}.txt": b"" for n in range(3)})
    with pytest.raises(UserError, match="more than 2 members"):
        load_corpus(str(path))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_is_refused_by_name_while_others_load(tmp_path: pathlib.Path, compression: int):
    members = {"bad.mid": tune_bytes(0), "good.mid": tune_bytes(1)}
    path = write_zip(tmp_path / "damaged.zip", members, compression)
    data = bytearray(path.read_bytes())
    data[30 + len("bad.mid") + 60] ^= 0xFF  # Inside the first member's content.
    path.write_bytes(data)
    corpus = load_corpus(str(path))
    assert statuses(corpus) == {"bad.mid": "refused", "good.mid": "loaded"}
    assert reason(corpus, "bad.mid").startswith("cannot be unpacked")


def test_a_zip_cut_short_is_refused(tmp_path: pathlib.Path):
    path = write_zip(tmp_path / "cut.zip", {"a.mid": tune_bytes()})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"cut\.zip"):
        load_corpus(str(path))


# Labels and fingerprints.


def test_labels_are_unique(tmp_path: pathlib.Path):
    for n, name in enumerate(["a/x.mid", "b/x.mid", "y.mid", "y.midi", "z.mid", "y.mid.mid"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(tune_bytes(n))
    labels = [piece.label for piece in load_corpus(str(tmp_path)).pieces]
    assert len(set(labels)) == 6
    assert "z" in labels


def test_the_fingerprint_is_that_of_the_content(tmp_path: pathlib.Path):
    members = {"a.mid": tune_bytes(0), "b.mid": tune_bytes(1)}
    first = load_corpus(str(write_zip(tmp_path / "first.zip", members))).fingerprint
    for name, data in members.items():
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    assert load_corpus(str(tmp_path / "folder")).fingerprint == first
    (tmp_path / "folder" / "refused.mid").write_text("text")
    assert load_corpus(str(tmp_path / "folder")).fingerprint == first
    changed = load_corpus(str(write_zip(tmp_path / "second.zip", members | {"b.mid": tune_bytes(2)}))).fingerprint
    renamed = load_corpus(str(write_zip(tmp_path / "third.zip", {"a.mid": tune_bytes(0), "c.mid": tune_bytes(1)})))
    assert len({first, changed, renamed.fingerprint}) == 3


def test_the_synthetic_corpus_is_the_same_for_the_same_seed():
    first, again, other = (corpus_lib.synthetic_corpus(3, seed) for seed in (0, 0, 1))
    assert first.name == "synthetic"
    assert len(first.pieces) == 3
    assert set(statuses(first).values()) == {"loaded"}
    assert first.fingerprint == again.fingerprint != other.fingerprint
    found = corpus_lib.find_source(DataConfig(num_synthetic=3, synthetic_seed=1), "synthetic", allow_chorales=False)
    assert corpus_lib.read_source(found).fingerprint == other.fingerprint
    assert corpus_lib.find_source(DataConfig(**found.to_config()), allow_chorales=False) == found


def test_what_runs_and_commands_have_written_is_no_part_of_a_corpus(tmp_path: pathlib.Path):
    """In a folder and in a zip of it; the folder of a command itself may be read."""
    (tmp_path / "own.mid").write_bytes(tune_bytes(0))
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "kept.mid").write_bytes(tune_bytes(1))
    output = files_lib.make_output(str(tmp_path / "songs" / "out"))
    (output / "deep").mkdir()
    for path in (output / "sample_000.mid", output / "deep" / "sample_001.mid"):
        path.write_bytes(tune_bytes(2))
    assert [file.path for file in corpus_lib.load_corpus(str(tmp_path)).files] == ["own.mid", "songs/kept.mid"]
    members = {
        path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    }
    archive = write_zip(tmp_path / "songs.zip", members)
    assert [file.path for file in corpus_lib.load_corpus(str(archive)).files] == ["own.mid", "songs/kept.mid"]
    assert len(corpus_lib.load_corpus(str(output)).files) == 2


def test_a_folder_with_files_is_not_marked_as_written(tmp_path: pathlib.Path):
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "own.mid").write_bytes(tune_bytes(0))
    files_lib.make_output(str(tmp_path / "songs"))
    assert [file.path for file in corpus_lib.load_corpus(str(tmp_path)).files] == ["songs/own.mid"]


def test_one_piece_is_a_file_or_alone_in_a_zip(tmp_path: pathlib.Path):
    (tmp_path / "songs").mkdir()
    path = tmp_path / "songs" / "tune.mid"
    path.write_bytes(tune_bytes(0))
    one = write_zip(tmp_path / "one.zip", {"tune.mid": tune_bytes(0), "readme.txt": b""})
    for source in (path, one):
        assert corpus_lib.load_piece(str(source)).label == "tune"
    two = write_zip(tmp_path / "two.zip", {"a.mid": tune_bytes(0), "b.mid": tune_bytes(1)})
    for source, count in ((path.parent, "1 file"), (two, "2 files")):
        with pytest.raises(UserError, match=f"a corpus of {count}; give one file"):
            corpus_lib.load_piece(str(source))


def test_several_corpora_are_one(tmp_path: pathlib.Path):
    for folder, seeds in (("first", (0, 1)), ("second", (2,))):
        (tmp_path / folder).mkdir()
        for seed in seeds:
            (tmp_path / folder / f"{seed}.mid").write_bytes(tune_bytes(seed))
    path = f"{tmp_path / 'first'},{tmp_path / 'second'}, synthetic"
    found = corpus_lib.find_sources(DataConfig(path=path, num_synthetic=2), allow_chorales=False)
    corpus = corpus_lib.read_sources(found)
    assert corpus.name == "first + second + synthetic"
    assert [piece.path for piece in corpus.pieces][:3] == ["first/0.mid", "first/1.mid", "second/2.mid"]
    assert corpus.num_pieces == len(corpus.pieces) == len(corpus.tune_groups) == 5
    with pytest.raises(UserError, match="two corpora of one name"):
        corpus_lib.find_sources(DataConfig(), "synthetic,synthetic", allow_chorales=False)
    with pytest.raises(UserError, match="nowhere: no such file"):
        corpus_lib.find_sources(DataConfig(), f"{tmp_path / 'first'},nowhere", allow_chorales=False)


def test_a_path_with_a_comma_is_one_corpus(tmp_path: pathlib.Path):
    folder = tmp_path / "mine, yours"
    folder.mkdir()
    (folder / "a.mid").write_bytes(tune_bytes(0))
    (found,) = corpus_lib.find_sources(DataConfig(path=str(folder)), allow_chorales=False)
    assert found.name == "mine, yours"


def test_tunes_of_an_excluded_corpus_are_refused(tmp_path: pathlib.Path):
    """In another key, too; a file without a tune stays."""
    names = {
        "mine": {"a.mid": tune_bytes(0), "b.mid": tune_bytes(1)},
        "theirs": {"c.mid": midi.write_midi(transpose(tune(0), 3))},
    }
    for folder, members in names.items():
        (tmp_path / folder).mkdir()
        for name, data in members.items():
            (tmp_path / folder / name).write_bytes(data)
    mine, theirs = (corpus_lib.load_corpus(str(tmp_path / folder)) for folder in names)
    found = [sources.list_source(str(tmp_path / "mine"))]
    left = corpus_lib.read_sources(found, theirs)
    assert statuses(left) == {"a.mid": "refused", "b.mid": "loaded"}
    assert left.files[0].reasons == ("its tune is excluded: c.mid of theirs",)
    with pytest.raises(UserError, match="every piece of mine is a tune of mine too"):
        corpus_lib.read_sources(found, mine)


def test_a_corpus_for_other_ensembles_keeps_its_files():
    corpus = corpus_lib.synthetic_corpus(3, 0)
    other = corpus_lib.orchestrate(corpus, 1)
    assert [file.sha256 for file in other.files] == [file.sha256 for file in corpus.files]
    assert other.fingerprint == corpus.fingerprint and len(other.pieces) == 3
