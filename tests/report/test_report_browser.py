"""The page of a run in a browser: playback, keyboard, and no error in the console."""

from __future__ import annotations

import contextlib
import html
import json
import os
import pathlib
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from report_folders import add_music, make_run, melody

from vae_jax.music import midi
from vae_jax.music.score import make_notes, make_score
from vae_jax.report import page as page_lib
from vae_jax.runtime import files
from vae_jax.training.experiment import load_experiment

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (requirements-dev.txt)")

IMAGE = "<img src=x onerror=alert(1)>"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Counts what is scheduled without a look into the page's own code.
COUNT_SOUNDS = """
window.sounds = 0;
for (const kind of [OscillatorNode, AudioBufferSourceNode]) {
  const start = kind.prototype.start;
  kind.prototype.start = function (...times) { window.sounds++; return start.apply(this, times); };
}
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[playwright.Browser]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"needs a browser: none of {', '.join(BROWSERS)} is installed")
    quiet = ["gpu", "quic", "background-networking", "component-update", "sync"]
    options = [*(f"--disable-{name}" for name in quiet), "--no-first-run"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--no-sandbox")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_file(small_run, tmp_path_factory) -> pathlib.Path:
    """The page of a run with a composition of hostile names."""
    folder = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(small_run, folder)
    shutil.rmtree(folder / "compositions", ignore_errors=True)  # The hostile one is to be alone.
    hostile = make_score(480, make_notes(np.arange(8) * 480, 240, 60), track_names=[IMAGE])
    files.write_bytes(folder / "compositions" / f"{IMAGE}.mid", midi.write_midi(hostile))
    trained = load_experiment(str(folder))
    page_lib.write_report(trained.folder, trained.inference())
    return trained.folder.report


@contextlib.contextmanager
def opened_page(chromium: playwright.Browser, scheme: str, path: pathlib.Path) -> Iterator[playwright.Page]:
    """A page, opened; a message in its console, a dialog or a request fails the test."""
    width = 390 if scheme == "dark" else 1200
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 800}, offline=True)
    opened = context.new_page()
    messages: list[str] = []
    opened.on("console", lambda message: messages.append(message.text) if message.type != "log" else None)
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.on("dialog", lambda dialog: (messages.append(dialog.message), dialog.dismiss()))
    opened.on("request", lambda sent: None if sent.url.startswith(("file:", "data:", "blob:"))
              else messages.append(sent.url))  # fmt: skip
    opened.add_init_script(COUNT_SOUNDS)
    opened.goto(path.as_uri())
    yield opened
    context.close()
    assert messages == []


@pytest.fixture(params=["light", "dark"])
def page(request, chromium, page_file) -> Iterator[playwright.Page]:
    with opened_page(chromium, request.param, page_file) as opened:
        yield opened


@pytest.fixture(params=["light", "dark"])
def listening(request, chromium, tmp_path) -> Iterator[playwright.Page]:
    """The page of a run with three held-out pieces and three compositions, one of a hostile name."""
    folder = make_run(tmp_path, {f"anthem {n}.mid": melody(50 + n) for n in range(4)}, num_held_out=3)
    for n in range(3):
        add_music(folder, f"anthem_{n}", melody(50 + n), melody(50 + n))
    for n, name in enumerate([IMAGE, "new_1", "new_2"]):
        files.write_bytes(folder.compositions / f"{name}.mid", midi.write_midi(melody(60 + n)))
    page_lib.write_report(folder, None)
    with opened_page(chromium, request.param, folder.report) as opened:
        yield opened


def sounds(page: playwright.Page) -> int:
    return page.evaluate("window.sounds")


def left(element: playwright.Locator) -> float:
    return element.bounding_box()["x"]


def wait_until_moved(page: playwright.Page, element: playwright.Locator, start: float) -> None:
    for _ in range(100):
        if left(element) > start:
            return
        page.wait_for_timeout(50)
    raise AssertionError("the cursor does not move")


def test_a_reconstruction_plays_and_its_cursor_moves(page):
    card = page.locator("#pieces .card").first
    blocks = card.locator(".music")
    assert blocks.count() == 2
    assert [blocks.nth(n).locator(".music-label").inner_text() for n in range(2)] == ["original", "reconstruction"]
    assert sounds(page) == 0
    block = blocks.nth(0)
    cursor, button = block.locator(".cursor"), block.locator(".play")
    start = left(cursor)
    button.click()
    wait_until_moved(page, cursor, start)
    assert sounds(page) > 0
    assert button.get_attribute("aria-label").startswith("Pause")
    # The other one goes on where this one is.
    blocks.nth(1).locator(".play").click()
    assert button.get_attribute("aria-label").startswith("Play")
    page.locator("#transport-play").click()
    assert left(blocks.nth(1).locator(".cursor")) == pytest.approx(left(cursor), abs=0.5)
    assert page.locator(".play.is-playing").count() == 0
    # A click into the notes goes there.
    roll = block.locator(".roll")
    roll.click(position={"x": 0.75 * roll.bounding_box()["width"], "y": 60})
    assert left(cursor) == pytest.approx(left(roll) + 0.75 * roll.bounding_box()["width"], abs=3)


def test_a_roll_is_drawn_and_used_by_keyboard(page):
    roll = page.locator("#pieces .roll").first
    roll.scroll_into_view_if_needed()
    page.wait_for_timeout(200)
    colours = roll.locator("canvas").evaluate(
        "(canvas) => new Set(new Uint32Array("
        "canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"
    )
    assert colours > 5
    roll.focus()
    page.keyboard.press("ArrowRight")
    assert roll.get_attribute("aria-valuenow") == "2"
    page.keyboard.press("Home")
    assert roll.get_attribute("aria-valuetext").startswith("0:00 of ")
    page.keyboard.press("Space")
    assert page.locator("#pieces .play.is-playing").count() == 1
    page.keyboard.press("Space")
    assert page.locator("#pieces .play.is-playing").count() == 0


def test_a_piece_and_a_point_of_the_map_play(page):
    piece = page.locator(".spot.piece").first
    piece.scroll_into_view_if_needed()
    name = piece.get_attribute("aria-label").partition(":")[0]
    piece.click()
    assert page.locator("#chosen h3").inner_text() == name
    page.wait_for_function("window.sounds > 0")
    assert page.locator("#transport-title").inner_text() == f"{name}, original"
    page.locator(".spot.cell[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator("#chosen h3").inner_text() == "Between pieces"
    page.locator("#line button").click()
    assert page.locator("#chosen h3").inner_text().startswith("From ")
    assert page.locator(".spot.now").count() == 1
    for name in ("mode", "meter"):
        page.get_by_role("radio", name=name).check()
        assert page.locator("#latent-map-key span").count() >= 1


def test_the_slider_changes_the_interpolation(page):
    card = page.locator("#interpolation-list .card").first
    card.locator(".play").click()
    before = sounds(page)
    slider = card.locator("input[type=range]")
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert card.locator(".music-label").inner_text() == "50% of the way"
    assert card.locator(".play.is-playing").count() == 1
    page.wait_for_function(f"window.sounds > {before}")


def test_pieces_are_filtered_and_sorted(page):
    assert page.locator("#pieces .card").count() == 2
    page.get_by_role("radio", name="all (6)").check()
    assert page.locator("#pieces .card").count() == 6
    worst = [float(text) for text in page.locator("#pieces .scores dd:first-of-type").all_inner_texts()[::3]]
    assert worst[:2] == sorted(worst[:2]) and worst[2:] == sorted(worst[2:])
    name = page.locator("#pieces h3").nth(3).inner_text()
    page.locator("#find").fill(name.upper())
    assert page.locator("#pieces h3").all_inner_texts() == [name]


def test_hostile_names_are_text_and_groups_can_be_muted(page):
    card = page.locator("#composed .card")
    assert card.locator(".music-label").inner_text() == IMAGE
    card.locator("summary").click()
    assert IMAGE in card.locator(".tracks").inner_text()
    assert page.locator("main img[src='x']").count() == 0
    page.get_by_role("button", name="winds").click()
    assert page.get_by_role("button", name="winds").get_attribute("aria-pressed") == "false"
    with page.expect_download() as download:
        page.locator("#interpolation-list a").first.click()
    made = midi.read_midi(pathlib.Path(download.value.path()).read_bytes())
    assert made.warnings == () and len(made.score.notes) > 0


def test_nothing_is_wider_than_the_screen(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_names_are_told_at_the_end_of_the_listening_test(listening):
    section = listening.locator("#listening")
    cards = section.locator(".card")
    truth = json.loads(listening.locator("#data").text_content())["listening"]["pairs"]
    names = [name for pair in truth for name in pair["names"]]
    assert cards.count() == 3 and {"anthem 0", "anthem 1", "anthem 2", IMAGE} < set(names)
    shown = section.inner_html()
    assert not [name for name in names if name in shown or html.escape(name) in shown]
    # Both excerpts play, without a name in the player.
    for n in range(2):
        before = sounds(listening)
        cards.nth(1).locator(".play").nth(n).click()
        listening.wait_for_function(f"window.sounds > {before}")
        assert listening.locator("#transport-title").inner_text() == f"Pair 2, {'AB'[n]}"
    assert cards.nth(1).locator(".play.is-playing").count() == 1
    # Answers outlast the page; there is no result before the last one.
    button = listening.locator("#listening-show")
    for n, pair in enumerate(truth[:2]):
        cards.nth(n).locator("input[type=radio]").nth(pair["composed"] if n else 1 - pair["composed"]).check()
    listening.reload()
    assert section.locator("input[type=radio]:checked").count() == 2
    assert listening.locator("#listening-count").inner_text() == "2 of 3 pairs answered"
    assert button.is_disabled()
    cards.nth(2).locator("input[type=radio]").nth(truth[2]["composed"]).check()
    button.click()
    result = listening.locator("#listening-result").inner_text()
    assert result.startswith("2 of 3 right: 67% (95% interval 9% to 99%; chance 50%).")
    assert "with a probability of 0.500. These answers do not show" in result
    assert [cards.nth(n).locator(".truth b").inner_text() for n in range(3)] == ["Wrong.", "Right.", "Right."]
    for n, pair in enumerate(truth):
        words = cards.nth(n).locator(".truth").inner_text()
        kinds = ["composed" if which == pair["composed"] else "real" for which in range(2)]
        assert words.endswith(f"A is {pair['names'][0]}, {kinds[0]}; B is {pair['names'][1]}, {kinds[1]}.")
    assert section.locator("img").count() == 0
    assert section.locator("input[type=radio]:enabled").count() == 0
    listening.reload()
    assert listening.locator("#listening-result").inner_text() == result
    listening.locator("#listening-again").click()
    listening.reload()
    assert section.locator("input[type=radio]:checked").count() == 0
    assert listening.locator("#listening-result").inner_text() == ""


def test_damaged_answers_of_the_listening_test_are_none(listening):
    identity = json.loads(listening.locator("#data").text_content())["listening"]["id"]
    for kept in ("{", "null", "[1]", '{"answers": [0, 1, 7]}', '{"answers": [0], "isShown": true}',
                 '{"answers": [0, 1, null], "isShown": true}'):  # fmt: skip
        listening.evaluate("([key, text]) => localStorage.setItem(key, text)", [f"listening {identity}", kept])
        listening.reload()
        assert listening.locator("#listening input[type=radio]:checked").count() == (2 if "null]" in kept else 0)
        assert listening.locator("#listening-result").inner_text() == ""
        assert listening.locator("#listening-show").is_disabled()
