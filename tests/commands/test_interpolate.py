"""vae_jax.interpolate: the ends are the pieces, music between them is new, and every point is written."""

from __future__ import annotations

import pathlib

import pytest
from command_line import PNG, assert_one_error, assert_success, call, run

from vae_jax.data import synthetic
from vae_jax.music import midi
from vae_jax.music import score as score_lib
from vae_jax.runtime.files import OUTPUT_MARK


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("songs")
    for n, name in enumerate(("first", "second")):
        (folder / f"{name}.mid").write_bytes(midi.write_midi(synthetic.make_score(9, n)))
    return folder


def test_every_point_is_written_and_the_ends_depend_on_one_piece(
    small_run: pathlib.Path, songs: pathlib.Path, tmp_path: pathlib.Path
):
    options = (f"--workdir={small_run}", "--length=8")
    one, other = (f"--{end}={songs / name}.mid" for end, name in (("start", "first"), ("end", "second")))
    done = run("-m", "vae_jax.interpolate", *options, one, other, "--steps=3", f"--output={tmp_path / 'path'}")
    assert_success(done)
    assert done.stdout == f"3 steps from first to second in {tmp_path / 'path'}\n"
    names = [OUTPUT_MARK, "interpolation.png", "step_00.mid", "step_01.mid", "step_02.mid"]
    assert sorted(path.name for path in (tmp_path / "path").iterdir()) == names
    assert (tmp_path / "path" / "interpolation.png").read_bytes().startswith(PNG)
    path = [midi.load(tmp_path / "path" / name) for name in names[2:]]
    for score, name in ((path[0], "first"), (path[2], "second")):
        original = midi.load(songs / f"{name}.mid")
        assert score.notes == score_lib.cut(original, 8 * original.ticks_per_beat).notes
    assert len(path[1].notes) and path[1].notes not in (path[0].notes, path[2].notes)
    tempos = [score.tempos[0].microseconds_per_beat for score in path]
    assert tempos[1] == pytest.approx((tempos[0] * tempos[2]) ** 0.5, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--start={songs}/first.mid"], "--end is missing"),
        (["--start={songs}", "--end={songs}/second.mid"], "a corpus of 2 files"),
        (["--start={songs}/first.mid", "--end={songs}"], "a corpus of 2 files"),
        (["--start={songs}/first.mid", "--end={songs}/third.mid"], "no such file"),
        (["--start={songs}/first.mid", "--end={songs}/second.mid", "--steps=1"], "steps"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    small_run: pathlib.Path, songs: pathlib.Path, tmp_path: pathlib.Path, arguments: list[str], part: str
):
    given = [argument.format(songs=songs) for argument in arguments]
    assert_one_error(call("interpolate", f"--workdir={small_run}", f"--output={tmp_path / 'new'}", *given), part)
    assert not (tmp_path / "new").exists()


def test_a_mistake_is_one_line_of_the_process():
    assert_one_error(run("-m", "vae_jax.interpolate", "--workdir=x"), "--start is missing")
