"""The page of a run in a browser: playback, keyboard, and no error in the console."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Iterator

import numpy as np
import pytest

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


@pytest.fixture(params=["light", "dark"])
def page(request, chromium, page_file) -> Iterator[playwright.Page]:
    """The page, opened; a message in its console, a dialog or a request fails the test."""
    width = 390 if request.param == "dark" else 1200
    context = chromium.new_context(color_scheme=request.param, viewport={"width": width, "height": 800}, offline=True)
    opened = context.new_page()
    messages: list[str] = []
    opened.on("console", lambda message: messages.append(message.text) if message.type != "log" else None)
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.on("dialog", lambda dialog: (messages.append(dialog.message), dialog.dismiss()))
    opened.on("request", lambda sent: None if sent.url.startswith(("file:", "data:", "blob:"))
              else messages.append(sent.url))  # fmt: skip
    opened.add_init_script(COUNT_SOUNDS)
    opened.goto(page_file.as_uri())
    yield opened
    context.close()
    assert messages == []


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
