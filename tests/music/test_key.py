"""Keys by name and their signatures, against the circle of fifths as it is printed."""

from __future__ import annotations

import pytest

from vae_jax.music.key import Tonic, fifths, parse_key, semitones_to

MAJOR = {"C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5, "F#": 6, "F": -1, "Bb": -2, "Eb": -3, "Ab": -4, "Db": -5}
MINOR = {"A": 0, "E": 1, "B": 2, "F#": 3, "C#": 4, "G#": 5, "D#": 6, "D": -1, "G": -2, "C": -3, "F": -4, "Bb": -5}
CHROMATIC = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
FLATS = {"Db": "C#", "Eb": "D#", "Gb": "F#", "Ab": "G#", "Bb": "A#", "Cb": "B", "Fb": "E", "E#": "F", "B#": "C"}


@pytest.mark.parametrize("minor", [False, True])
@pytest.mark.parametrize("name", [*CHROMATIC, *FLATS])
def test_every_key_by_its_name(name, minor):
    key = Tonic(CHROMATIC.index(FLATS.get(name, name)), minor, 1.0)
    written = name + "m" * minor
    assert parse_key(written) == key
    assert parse_key(written[0].lower() + written[1:]) == key


@pytest.mark.parametrize("text", ["", "H", "m", "Hm", "C##", "Cbb", "CM", "C m", " C", "C\n", "Cmaj", "#", "Bbb", "1"])
def test_what_is_no_key(text):
    with pytest.raises(ValueError, match="not a key"):
        parse_key(text)


@pytest.mark.parametrize(("circle", "mode"), [(MAJOR, ""), (MINOR, "m")])
def test_signatures_are_those_of_the_circle_of_fifths(circle, mode):
    assert {name: fifths(parse_key(name + mode)) for name in circle} == circle
    assert len({parse_key(name).pitch_class for name in circle}) == 12


def test_transposing_to_a_common_tonic_takes_the_short_way():
    for pitch_class in range(12):
        moved = semitones_to(Tonic(pitch_class, False, 1.0))
        assert (pitch_class + moved) % 12 == 0
        assert -6 <= moved <= 5
    assert semitones_to(parse_key("G")) == 5
    assert semitones_to(parse_key("D")) == -2
