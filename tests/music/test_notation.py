"""MusicXML, ABC and Humdrum, with values computed by hand and with music21's own MIDI as the oracle."""

from __future__ import annotations

import collections
import contextlib
import io
import os
import pathlib
import random
import re
import subprocess
import sys
import textwrap
import warnings
import zipfile

import numpy as np
import pytest
from command_line import REPOSITORY
from notations import ABC, END, KERN, START, attributes, barline, musicxml, mxl, note, tune_xml

from vae_jax.music import midi, notation
from vae_jax.music.notation import NotationError, read_notation
from vae_jax.music.score import KeySignature, Meter, Score, Tempo

FOUR = [note("C4"), note("D4"), note("E4"), note("F4")]
BAR = "".join(FOUR)


def read(data: bytes, suffix: str = ".musicxml") -> Score:
    return read_notation(data, suffix).score


def beats(score: Score) -> list[tuple[float, float, int]]:
    """Onset and duration in quarter notes, and pitch."""
    notes, ticks = score.notes, score.ticks_per_beat
    rows = zip((notes.onset_ticks / ticks).tolist(), (notes.duration_ticks / ticks).tolist(), notes.pitch, strict=True)
    return [(onset, duration, int(pitch)) for onset, duration, pitch in rows]


def onsets(score: Score) -> list[float]:
    return [onset for onset, _, _ in beats(score)]


def as_music21_plays(data: bytes, suffix: str) -> Score:
    """The score in the MIDI file that music21 itself writes."""
    from music21.midi import translate

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = notation._parse(notation._decode(data), notation._FORMATS[suffix])
        return midi.read_midi(translate.streamToMidiFile(parsed).writestr()).score


# The oracle.

JIG = b"X:1\nM:6/8\nL:1/8\nK:G\nD|:GAB c2d|edc B2A|1 GAB AGF|G3 z2D:|2 GBd gfe|(3dcB A2 G3||\n"
VOICES = b"X:2\nM:4/4\nL:1/4\nK:Eb\nV:1\nE G B e|[Ec]2 =A>B|\nV:2\nE,2 B,,2|A,,- A,, B,,2|\n"
PIECES = {
    "melody": (tune_xml(3), ".musicxml"),
    "ties": (musicxml([attributes() + note("C4", 16, tie="start"), note("C4", 8, tie="stop") + note("D4", 8)]), ".xml"),
    "repeats": (musicxml([attributes() + BAR, START + BAR, note("G4", 16) + END, note("C4", 16)]), ".xml"),
    "two parts": (musicxml([attributes() + BAR, BAR], [attributes() + note("C3", 16), note("G2", 16)]), ".xml"),
    "endings": (JIG, ".abc"),
    "voices": (VOICES, ".abc"),
    "minor": (ABC, ".abc"),
    "kern": (KERN, ".krn"),
}


@pytest.mark.parametrize("name", PIECES)
def test_notes_are_those_that_music21_plays(name: str):
    data, suffix = PIECES[name]
    ours, theirs = read(data, suffix), as_music21_plays(data, suffix)
    assert collections.Counter(beats(ours)) == collections.Counter(beats(theirs))
    assert len(ours.notes)


# What is written, and what is played.


def test_ties_are_joined_across_bars_and_where_only_their_start_is_written():
    bars = [attributes() + note("C4", 16, tie="start"), note("C4", 16, tie="stop start"), note("C4", 8) + note("C4", 8)]
    assert beats(read(musicxml(bars))) == [(0, 10, 60), (10, 2, 60)]


def test_chords_and_voices_sound_together():
    second = note("E3", 16, inside="<voice>2</voice>")
    chord = note("C5", 8) + note("E5", 8, before="<chord/>") + note("G5", 8)
    score = read(musicxml([attributes() + chord + "<backup><duration>16</duration></backup>" + second]))
    assert sorted(beats(score)) == [(0, 2, 72), (0, 2, 76), (0, 4, 52), (2, 2, 79)]


def test_a_pick_up_is_a_short_first_bar():
    score = read(musicxml([attributes(meter="3/4") + note("G4"), note("C5", 12), note("D5", 12)]))
    assert score.meters == (Meter(0, 1, 4), Meter(480, 3, 4))
    assert onsets(score) == [0, 1, 4]


def test_two_halves_of_a_bar_around_a_repeat_are_one_bar():
    bars = [attributes() + note("G4"), BAR, note("C4", 12) + END, START + note("E4"), BAR, note("C4", 12) + END]
    score = read(musicxml(bars))
    assert onsets(score)[-1] == 29
    assert score.meters == (Meter(0, 1, 4), Meter(480, 4, 4))


def test_a_bar_of_another_length_has_its_own_meter():
    score = read(musicxml([attributes() + BAR, note("C4", 12), BAR, note("C4", 24), BAR]))
    ticks = [(meter.tick / 480, meter.numerator) for meter in score.meters]
    assert ticks == [(0, 4), (4, 3), (7, 4), (11, 6), (17, 4)]


def test_the_last_bar_may_be_short():
    assert read(musicxml([attributes() + BAR, note("C4", 12)])).meters == (Meter(0, 4, 4),)


@pytest.mark.parametrize(
    ("marks", "order"),
    [
        ({1: END}, "0 1 0 1 2 3 4 5"),
        ({1: START, 2: END}, "0 1 2 1 2 3 4 5"),
        ({1: END, 3: END}, "0 1 0 1 2 3 2 3 4 5"),
        ({0: barline("right", '<repeat direction="backward" times="3"/>')}, "0 0 0 1 2 3 4 5"),
        (
            {1: barline("right", '<ending number="1" type="stop"/><repeat direction="backward"/>')}
            | {2: barline("left", '<ending number="2" type="start"/>')},
            "0 1 0 2 3 4 5",
        ),
    ],
)
def test_repeats_are_expanded(marks: dict[int, str], order: str):
    measures = []
    for n, pitch in enumerate(["C4", "D4", "E4", "F4", "G4", "A4"]):
        mark = marks.get(n, "")
        if "ending" in mark:
            number = mark[mark.index('number="') + 8]
            mark = barline("left", f'<ending number="{number}" type="start"/>') + mark
            mark += barline("right", f'<ending number="{number}" type="stop"/>') * ("stop" not in mark)
        left = mark if 'location="right"' not in mark[:25] else ""
        measures.append(attributes() * (n == 0) + left + note(pitch, 16) + mark * (not left))
    played = {60: 0, 62: 1, 64: 2, 65: 3, 67: 4, 69: 5}
    assert " ".join(str(played[pitch]) for _, _, pitch in beats(read(musicxml(measures)))) == order


def words(text: str) -> str:
    return f"<direction><direction-type><words>{text}</words></direction-type></direction>"


def test_da_capo_al_fine_is_played():
    bars = [attributes() + note("C4", 16), note("D4", 16) + words("Fine"), note("E4", 16) + words("D.C. al Fine")]
    assert [pitch for _, _, pitch in beats(read(musicxml(bars)))] == [60, 62, 64, 60, 62]


def test_a_sign_in_one_part_holds_for_all():
    lower = [attributes() + note("C3", 16), note("D3", 16), note("E3", 16)]
    upper = [attributes() + note("C5", 16), note("D5", 16) + words("D.C. al Fine"), note("E5", 16)]
    upper[0] += words("Fine")
    score = read(musicxml(upper, lower))
    assert [pitch for _, _, pitch in beats(score)] == [72, 48, 74, 50, 72, 48]


def test_tempo_key_and_meter_hold_again_after_a_jump_back():
    change = '<attributes><key><fifths>-3</fifths></key></attributes><direction><sound tempo="60"/></direction>'
    first = '<direction><sound tempo="120"/></direction>'
    score = read(musicxml([attributes(fifths=1) + first + BAR, change + BAR + END, BAR]))
    assert [(tempo.tick / 480, tempo.microseconds_per_beat) for tempo in score.tempos] == [
        (0, 500_000), (4, 1_000_000), (8, 500_000), (12, 1_000_000),
    ]  # fmt: skip
    assert [(key.tick / 480, key.fifths) for key in score.keys] == [(0, 1), (4, -3), (8, 1), (12, -3)]


def test_parts_stay_together_where_one_lacks_beats():
    short = [attributes() + BAR, note("C3", 8), BAR]
    score = read(musicxml([attributes() + BAR, BAR, note("C5", 16)], short))
    assert onsets(score)[-5:] == [8, 8, 9, 10, 11]


def test_what_is_left_out_is_counted():
    ornament = note("D4", 8, inside="<notations><ornaments><trill-mark/></ornaments></notations>")
    harmony = "<harmony><root><root-step>C</root-step></root><kind>major</kind></harmony>"
    grace = "<note><grace/><pitch><step>B</step><octave>3</octave></pitch></note>"
    reading = read_notation(musicxml([attributes() + harmony + grace * 2 + note("C4", 8) + ornament]), ".xml")
    assert beats(reading.score) == [(0, 2, 60), (2, 2, 62)]
    assert set(reading.remarks) == {"grace notes left out (2)", "ornaments left out", "chord symbols left out"}


# Instruments.


def test_a_transposing_instrument_is_at_sounding_pitch():
    transpose = "<transpose><diatonic>-1</diatonic><chromatic>-2</chromatic></transpose>"
    score = read(musicxml([attributes(fifths=2, more=transpose) + BAR], names=("Clarinet in Bb",)))
    assert [pitch for _, _, pitch in beats(score)] == [58, 60, 62, 63]
    assert score.keys == (KeySignature(0, 0),)
    assert set(score.notes.program) == {71}


@pytest.mark.parametrize(
    ("name", "said", "program"),
    [
        ("Violoncello", "", 42),
        ("Soprano", "", 53),
        ("Oboe", "<midi-program>74</midi-program>", 73),
        ("Unheard-of", "", 0),
    ],
)
def test_instruments_have_general_midi_programs(name: str, said: str, program: int):
    score = read(musicxml([attributes() + BAR], names=(name,), midi=(said,)))
    assert set(score.notes.program.tolist()) == {program}
    assert score.track_names == (name,)


def test_percussion_is_on_its_channel():
    unpitched = "<unpitched><display-step>C</display-step><display-octave>5</display-octave></unpitched>"
    hit = f"<note>{unpitched}<duration>4</duration></note>"
    said = "<midi-channel>10</midi-channel><midi-unpitched>39</midi-unpitched>"
    score = read(musicxml([attributes() + BAR], [attributes() + hit * 4], names=("Flute", "Snare"), midi=("", said)))
    drums = score.notes.select(score.notes.is_drum)
    assert (drums.pitch.tolist(), set(drums.track)) == ([38] * 4, {1})


def test_every_part_has_a_channel_and_many_share_those_of_their_program():
    few = read(musicxml(*[[attributes() + BAR]] * 15))
    assert sorted(set(few.notes.channel.tolist())) == [n for n in range(16) if n != 9]
    many = read(musicxml(*[[attributes() + BAR]] * 20, names=("Violin", "Viola") * 10))
    assert many.num_tracks == 20
    assert {(c, p) for c, p in zip(many.notes.channel.tolist(), many.notes.program.tolist(), strict=True)} == {
        (0, 40), (1, 41),
    }  # fmt: skip
    assert midi.read_midi(midi.write_midi(many)).score == many


def test_dynamics_are_velocities():
    marked = "<direction><direction-type><dynamics><{}/></dynamics></direction-type></direction>"
    score = read(musicxml([attributes() + note("C4"), marked.format("pp") + note("C4"), marked.format("ff") + BAR]))
    velocities = score.notes.velocity.tolist()
    assert velocities[0] == 64
    assert 10 < velocities[1] < 50 < 100 < velocities[2] == velocities[-1] < 127


# ABC and Humdrum.


def test_an_abc_tune_has_tempo_key_and_meter():
    score = read(ABC, ".abc")
    assert score.tempos == (Tempo(0, round(60e6 / 90)),)
    assert score.keys == (KeySignature(0, -1, minor=True),)
    assert score.meters == (Meter(0, 1, 4), Meter(480, 3, 4))
    assert beats(score)[-1] == (7, 5, 74)


def test_a_tune_book_is_split_below_its_header():
    book = b"% a book\nM:6/8\nL:1/8\n\nX:7\nT:A\nK:G\nGAB c2d|\n\nX:7\nT:B\nM:4/4\nK:D\nD4 A4|\n"
    (first, one), (second, two) = notation.split_tunes(book)
    assert (first, second) == ("0001", "0002")
    assert read(one, ".abc").meters == (Meter(0, 6, 8),)
    assert read(two, ".abc").meters == (Meter(0, 4, 4),)
    assert [duration for _, duration, _ in beats(read(two, ".abc"))] == [2, 2]
    assert notation.split_tunes(ABC) == [("", ABC)]


def test_kern_has_its_voices_as_tracks():
    score = read(KERN, ".krn")
    assert sorted(beats(score)) == [
        (0, 0.5, 65),
        (0, 1, 53),
        (0.5, 0.5, 67),
        (1, 1, 48),
        (1, 1, 64),
        (2, 2, 41),
        (2, 2, 65),
    ]
    assert score.num_tracks == 2
    assert score.keys == (KeySignature(0, -1),)


# Encodings and containers.


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_musicxml_in_other_encodings(encoding: str):
    text = musicxml([attributes() + BAR], names=("Flöte",)).decode().replace("UTF-8", encoding.removesuffix("-sig"))
    assert read(text.encode(encoding)).track_names == ("Flöte",)


def test_an_encoding_that_does_not_exist_is_read_as_latin1():
    text = musicxml([attributes() + BAR], names=("Flöte",)).decode().replace("UTF-8", "windows-9999")
    assert read(text.encode("latin1")).track_names == ("Flöte",)


def test_a_book_of_too_many_tunes_is_not_split():
    book = b"%% " + b"long " * 10_000 + b"\n" + b"X:1\n" * 10_000
    assert notation.split_tunes(book) == [("", book)]


def test_compressed_musicxml_is_the_score_that_its_container_names():
    score = musicxml([attributes() + BAR])
    assert read(mxl(score, name="deep/x.musicxml"), ".mxl") == read(score)
    assert read(mxl(score, container=False), ".mxl") == read(score)
    assert read(mxl(score), ".xml") == read(score)  # Some programs write it under the wrong suffix.
    with pytest.raises(NotationError, match="no MusicXML in the archive"):
        read(mxl(b"text", name="x.txt", container=False), ".mxl")


# Damage and malice.

BOMB = b'<!DOCTYPE s [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><score-partwise>&b;</score-partwise>'
OUTSIDE = b'<!DOCTYPE s [<!ENTITY a SYSTEM "file:///etc/passwd">]><score-partwise>&a;</score-partwise>'
REFUSED = {
    "empty": (b"", ".abc", "the file is empty"),
    "too long": (b" " * (midi.MAX_FILE_BYTES + 1), ".krn", "more than the limit"),
    "no XML": (b"Dear diary,", ".xml", "not XML"),
    "other XML": (b"<project><part/></project>", ".xml", "its root is <project>"),
    "timewise": (b"<score-timewise/>", ".xml", "its root is <score-timewise>"),
    "entities": (BOMB, ".xml", "declares XML entities"),
    "entities in UTF-16": (BOMB.decode().encode("utf-16"), ".musicxml", "declares XML entities"),
    "an entity from outside": (OUTSIDE, ".xml", "declares XML entities"),
    "no zip": (b"PK\x03\x04 text", ".mxl", "cannot be unpacked"),
    "a bomb": (mxl(bytes(midi.MAX_FILE_BYTES + 1)), ".mxl", "unpacks to more than the limit"),
    "music21 fails": (b"4c\n", ".krn", "music21 cannot read it (HumdrumException: "),
    "a long note": (b"X:1\nL:1/4\nK:C\nC1000000000|\n", ".abc", "beats, more than the limit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_file_is_refused_with_a_reason(name: str):
    data, suffix, reason = REFUSED[name]
    with pytest.raises(NotationError, match=re.escape(reason)) as caught:
        read_notation(data, suffix)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("data", "suffix"), [(b"Dear diary,", ".abc"), (b"Dear diary,", ".krn"), (musicxml(), ".xml")])
def test_a_text_that_is_no_music_has_no_note(data: bytes, suffix: str):
    with contextlib.suppress(NotationError):
        assert not len(read(data, suffix).notes)


@pytest.mark.parametrize("times", ["1000000000", "-5", "0"])
def test_a_passage_is_not_repeated_without_end(times: str):
    repeat = barline("right", f'<repeat direction="backward" times="{times}"/>')
    assert 2 <= len(read(musicxml([attributes() + note("C4", 16) + repeat])).notes) <= 16


def test_nested_repeats_do_not_grow_without_end():
    bars = [attributes() + START + BAR, *[START + BAR] * 30, *[BAR + END] * 30]
    reading = read_notation(musicxml(bars), ".xml")
    assert len(reading.score.notes) == 4 * 61
    assert reading.warnings == ("repeats that contradict each other: played once",)


@pytest.mark.parametrize("suffix", [".musicxml", ".mxl", ".abc", ".krn"])
def test_a_mutated_file_is_read_or_refused(suffix: str):
    whole = {".musicxml": musicxml([attributes() + BAR, BAR + END]), ".abc": JIG, ".krn": KERN}
    whole[".mxl"] = mxl(whole[".musicxml"])
    rng = random.Random(suffix)
    num_read = 0
    for _ in range(25):
        data = bytearray(whole[suffix])
        for _ in range(rng.choice([1, 2, 8])):
            place = rng.randrange(len(data))
            data[place : place + rng.randrange(3)] = bytes([rng.randrange(256)]) * rng.randrange(3)
        with contextlib.suppress(NotationError):
            score = read_notation(bytes(data), suffix).score
            assert midi.read_midi(midi.write_midi(score)).score == score
            num_read += 1
    assert num_read


def test_nothing_is_written_fetched_or_started(tmp_path: pathlib.Path):
    """In a process of its own, whose home is empty: what music21 would write (settings, pickles) would be there."""
    (tmp_path / "a.abc").write_bytes(ABC)
    (tmp_path / "home").mkdir()
    code = f"""
        import sys
        watched = ("socket.connect", "socket.getaddrinfo", "urllib", "subprocess", "os.system", "os.mkdir", "pickle")
        def watch(event, arguments):
            if event.startswith((*watched, "tempfile")) or (event == "open" and int(arguments[2] or 0) & 3):
                print(event, arguments, flush=True)
        sys.addaudithook(watch)
        from vae_jax.music import notation
        for data, suffix in (({ABC!r}, ".abc"), ({KERN!r}, ".krn"), ({tune_xml()!r}, ".xml"), (b"/etc/passwd", ".abc")):
            try:
                print(len(notation.read_notation(data, suffix).score.notes))
            except notation.NotationError as error:
                print("refused")
        """
    environment = os.environ | {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "home")}
    environment |= {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["7", "7", "40", "refused"], done.stdout + done.stderr
    assert not done.stderr
    assert not list((tmp_path / "home").rglob("*"))


def test_a_bomb_of_many_members_is_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for n in range(1001):
            archive.writestr(f"{n}.xml", b"")
    with pytest.raises(NotationError, match="1001 members"):
        read(buffer.getvalue(), ".mxl")


def test_a_septuplet_is_exact():
    ratio = "<actual-notes>7</actual-notes><normal-notes>4</normal-notes>"
    septuplet = note("C4", 1, inside=f"<time-modification>{ratio}</time-modification>") * 7
    divisions = attributes().replace("<divisions>4<", "<divisions>7<")
    score = read(musicxml([divisions + septuplet]))
    assert score.ticks_per_beat == 10_080
    np.testing.assert_array_equal(score.notes.onset_ticks, 1440 * np.arange(7))


def test_what_music21_warns_of_is_told_and_not_printed(capfd: pytest.CaptureFixture[str]):
    reading = read_notation(b"X:1\nL:1/4\nK:C\nC\xc3\xa9D|^|", ".abc")
    assert reading.warnings[0].startswith("music21: abcFormat: WARNING: Could not get pitch")
    assert capfd.readouterr() == ("", "")


def test_a_bug_of_our_own_is_not_taken_for_damage(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vae_jax.music.notation_content._read_part", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        read_notation(ABC, ".abc")


def test_a_tempo_out_of_range_is_left_out():
    mark = "<direction><direction-type><metronome><beat-unit>quarter</beat-unit><per-minute>1e-310</per-minute>"
    score = read(musicxml([attributes() + mark + "</metronome></direction-type></direction>" + BAR]))
    assert len(score.notes) == 4
    assert not score.tempos
