"""Archives from strangers: nothing written, little read, every member refused or loaded by its name."""

from __future__ import annotations

import io
import os
import pathlib
import random
import stat
import struct
import time
import zipfile

import pytest

from vae_jax.data import corpus, synthetic
from vae_jax.music import midi
from vae_jax.runtime.errors import UserError

MUSIC = [midi.write_midi(score) for _, score in synthetic.make_corpus(3, 0)]


def read(tmp_path: pathlib.Path, data: bytes) -> dict[str, list[str]]:
    """Status and reasons of the members by name, after looking that nothing was written."""
    path = tmp_path / "inner" / "songs.zip"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    before = sorted(tmp_path.rglob("*"))
    files = corpus.load_corpus(str(path)).files
    assert sorted(tmp_path.rglob("*")) == before
    members: dict[str, list[str]] = {}
    for file in files:
        members.setdefault(file.path, []).append(" ".join([file.status, *file.reasons]))
    return members


def archive(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return buffer.getvalue()


def entry(data: bytes, name: bytes) -> int:
    """Where the central directory describes a member."""
    place = data.index(b"PK\x01\x02")
    while data[place + 46 : place + 46 + len(name)] != name:
        place = data.index(b"PK\x01\x02", place + 4)
    return place


def changed(data: bytes, name: bytes, offset: int, value: int, code: str = "<I") -> bytes:
    """Changes a number of a member's entry in the central directory."""
    out = bytearray(data)
    struct.pack_into(code, out, entry(data, name) + offset, value)
    return bytes(out)


def test_a_symlink_is_read_as_the_text_that_it_is(tmp_path: pathlib.Path):
    (tmp_path / "secret.mid").write_bytes(MUSIC[0])
    link = zipfile.ZipInfo("link.mid")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(link, str(tmp_path / "secret.mid"))
        file.writestr("good.mid", MUSIC[1])
    members = read(tmp_path, buffer.getvalue())
    assert members == {"good.mid": ["loaded"], "link.mid": ["refused not a MIDI file (no MThd header)"]}


def test_of_members_with_one_name_the_first_is_read(tmp_path: pathlib.Path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = archive([("a.mid", MUSIC[0]), ("a.mid", MUSIC[1]), ("b.mid", MUSIC[2])])
    members = read(tmp_path, data)
    again = "refused the archive has another member of this name before it"
    assert members == {"a.mid": ["loaded", again], "b.mid": ["loaded"]}
    pieces = corpus.load_corpus(str(tmp_path / "inner" / "songs.zip")).pieces
    assert [piece.label for piece in pieces] == ["a", "b"]
    assert pieces[0].score == midi.read_midi(MUSIC[0]).score


def test_an_archive_within_an_archive_is_not_unpacked(tmp_path: pathlib.Path):
    inner = archive([("deep.mid", MUSIC[0])])
    members = read(tmp_path, archive([("inner.zip", inner), ("inner.mid", inner), ("good.mid", MUSIC[1])]))
    # By its suffix it is no music, and by its bytes it is none either, although music is somewhere in it.
    assert members == {"good.mid": ["loaded"], "inner.mid": ["refused not a MIDI file (no MThd header)"]}


def test_members_that_share_their_bytes_are_refused(tmp_path: pathlib.Path):
    # The second entry points to the first member's bytes: a bomb of this make grows with the square of its size.
    data = archive([("a.mid", MUSIC[0]), ("b.mid", MUSIC[1]), ("c.mid", MUSIC[2])])
    members = read(tmp_path, changed(data, b"b.mid", 42, 0))
    assert members["a.mid"] == ["loaded"] or members["a.mid"][0].startswith("refused cannot be unpacked")
    assert members["b.mid"][0].startswith("refused cannot be unpacked")
    assert members["c.mid"] == ["loaded"]


@pytest.mark.parametrize(("offset", "value"), [(24, 10), (24, 2**24 - 1), (24, 2**32 - 2), (20, 5), (16, 1)])
def test_a_lying_size_or_checksum_is_refused_by_name(tmp_path: pathlib.Path, offset: int, value: int):
    data = archive([("bad.mid", MUSIC[0]), ("good.mid", MUSIC[1])])
    started = time.process_time()
    members = read(tmp_path, changed(data, b"bad.mid", offset, value))
    assert time.process_time() - started < 5
    assert members["good.mid"] == ["loaded"]
    assert members["bad.mid"][0].startswith("refused")


def test_ten_thousand_members_are_read_in_bounded_time(tmp_path: pathlib.Path):
    small = b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\0\0\x0b\0\x90\x3c\x40\x60\x3c\0\0\xff\x2f\0"
    data = archive([(f"{n}.mid", small) for n in range(10_000)])
    started = time.process_time()
    members = read(tmp_path, data)
    assert time.process_time() - started < 30
    assert len(members) == 10_000
    assert {status for statuses in members.values() for status in statuses} == {"loaded"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_mutated_archive_is_read_or_refused(tmp_path: pathlib.Path, method: int):
    whole = archive([(f"{n}.mid", data[:2000]) for n, data in enumerate(MUSIC)], method)
    rng = random.Random(method)
    path = tmp_path / "songs.zip"
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 2, 8])):
            # Half of the time in the directory at the end, which says what is where.
            place = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(len(data) - 200, len(data))
            data[place] = rng.randrange(256)
        path.write_bytes(data)
        try:
            files = corpus.load_corpus(str(path)).files
        except UserError as error:
            reasons = [str(error)]
        else:
            reasons = [file.reasons[0] for file in files if file.score is None]
        assert all(reason.strip() for reason in reasons)


def test_a_loop_of_links_in_a_folder_is_not_followed(tmp_path: pathlib.Path):
    (tmp_path / "good.mid").write_bytes(MUSIC[0])
    (tmp_path / "self.mid").symlink_to(tmp_path / "self.mid")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "up").symlink_to(tmp_path, target_is_directory=True)
    os.symlink("/dev/zero", tmp_path / "zero.mid")
    files = {file.path: file for file in corpus.load_corpus(str(tmp_path)).files}
    assert files.keys() == {"good.mid", "self.mid", "zero.mid"}
    assert files["good.mid"].status == "loaded"
    assert files["self.mid"].reasons[0].startswith("cannot be read")
    assert files["zero.mid"].reasons == ("not a regular file",)
