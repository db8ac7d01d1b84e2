"""The page in a real browser: filters by the address, by keyboard, by finger, light and dark."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pages

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
N = 10_000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pages.page(tmp_path_factory.mktemp("browser"), 200)


def test_filters_by_the_address_among_ten_thousand(tmp_path: Path) -> None:
    made = pages.page(tmp_path, N, ["one"])
    words = "#filter=retrieval&q=CAFE%20answer&id=q9002"
    done = subprocess.run(
        [
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=10000",
            "--dump-dom",
            f"{made.as_uri()}{words}",
        ],
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    tree = pages.Tree(done.stdout.partition("\n")[2])
    assert tree.texts["count"] == f"{N // 4:,} of {N:,} questions"
    rows = [found for _, found in tree.elements if found.get("role") == "option"]
    assert 5 < len(rows) < 60  # what is in view, of all of them
    assert {found["aria-setsize"] for found in rows} == {str(N // 4)}
    (opened,) = [found for found in rows if found["aria-selected"] == "true"]
    assert opened["aria-posinset"] == str(9002 // 4 + 1)
    assert f"Café {pages.NASTY} 9002?" in tree.texts["detail"]
    assert "retrieval missed" in tree.texts["detail"]
    assert pages.NASTY in tree.texts[opened["id"]]
    assert "<title>one</title>" in done.stdout  # no text of the run was run


# ------------------------------------------------------------------ hands on it


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as play:
        found = play.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"], timeout=200_000
        )
        yield found
        found.close()


@pytest.fixture
def view(file: Path, browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    context = browser.new_context(**getattr(request, "param", {}))
    context.set_default_timeout(200_000)
    found = context.new_page()
    faults: list[str] = []
    asked: list[str] = []
    found.on("console", lambda message: faults.append(message.text))
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.on("request", lambda one: asked.append(one.url))
    found.goto(file.as_uri())
    yield found
    context.close()
    assert faults == []
    assert {url.partition("#")[0] for url in asked if not url.startswith("data:")} == {
        file.as_uri()
    }


def selected(view: Any) -> str:
    return str(view.inner_text(".row[aria-selected=true] b"))


def test_by_keyboard_alone(view: Any) -> None:
    view.keyboard.press("/")
    view.keyboard.type("200")
    assert view.inner_text("#count") == "No question is like that."
    view.keyboard.press("Control+A")
    view.keyboard.type("answer")
    assert view.inner_text("#count") == "200 of 200 questions"
    view.keyboard.press("Enter")
    assert selected(view).endswith(" 0?")
    view.keyboard.press("End")
    assert selected(view).endswith(" 199?")
    assert view.locator(".row").count() < 60
    view.keyboard.press("ArrowUp")
    view.keyboard.press("Enter")
    assert view.evaluate("document.activeElement.tagName") == "H3"
    assert view.inner_text("#detail h3").endswith(" 198?")
    view.keyboard.press("p")
    assert view.inner_text("#detail h3").endswith(" 197?")
    assert "id=q197" in view.url
    view.keyboard.press("Escape")
    assert view.evaluate("document.activeElement.id") == "list"
    view.focus("#filters input:checked")
    view.keyboard.press("ArrowRight")
    view.keyboard.press("ArrowRight")
    assert "filter=wrong" in view.url
    assert view.inner_text("#count") == "100 of 200 questions"
    view.select_option("#run", "1")
    # Every tenth is wrong as well there; of these, half were right.
    assert view.inner_text("#count") == "110 of 200 questions"
    view.check("#filters input[value=differ]")
    assert view.inner_text("#count") == "10 of 200 questions"


def test_passages_bars_and_heat(view: Any) -> None:
    view.click(".row >> nth=3")
    run = view.locator("#detail .run").first
    assert "reader missed" in run.inner_text()
    assert run.locator("mark").all_inner_texts() == ["answer 3"]
    assert "first with an answer" in run.locator("li").nth(1).inner_text()
    widths = run.locator(".bars i").evaluate_all("all => all.map(one => one.style.width)")
    assert widths == ["75%", "12.5%", "25%", "87.5%"]
    heads = run.locator(".heat thead th").all_inner_texts()
    assert heads == ["an", "␣<i>3</i>"]
    assert run.locator(".heat td:not(:empty)").all_inner_texts() == [
        *("0.25", "0.06"),
        *("0.75", "0.94"),
    ]
    assert view.title() == "one · two"


@pytest.mark.parametrize(
    "view",
    [{"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}],
    indirect=True,
)
def test_by_finger_on_a_phone(view: Any) -> None:
    assert view.evaluate("document.documentElement.scrollWidth") <= 360
    assert not view.is_visible("#detail")
    view.tap("#filters label:has([value=reader])")
    for box in view.locator("#filters label, .row").all():
        assert box.bounding_box()["height"] >= 40
    view.tap(".row >> nth=1")
    assert view.inner_text("#detail h3").endswith(" 7?")
    view.tap(".next")
    assert view.inner_text("#detail h3").endswith(" 11?")
    assert view.evaluate("document.getElementById('detail').scrollWidth") <= 360
    view.go_back()
    view.wait_for_selector("#detail", state="hidden")
    assert "filter=reader" in view.url
    view.tap(".row >> nth=0")
    view.tap(".back")
    view.wait_for_selector("#detail", state="hidden")


@pytest.mark.parametrize(
    "view", [{"color_scheme": "dark"}, {"color_scheme": "light"}], indirect=True
)
def test_text_can_be_read_in_light_and_dark(view: Any) -> None:
    view.click(".row >> nth=3")
    ratios = view.evaluate(CONTRAST)
    assert len(ratios) > 50
    assert min(ratios) >= 4.5  # WCAG AA
    dark = view.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    ground = view.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) is dark


# Colours are laid over what is below them, as the browser does.
CONTRAST = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const part = (v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    return .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
  };
  const ground = (node) => {
    if (!node) return [255, 255, 255];
    const [r, g, b, a = 1] = parts(getComputedStyle(node).backgroundColor);
    if (a === 1) return [r, g, b];
    return ground(node.parentElement).map((below, n) => below * (1 - a) + [r, g, b][n] * a);
  };
  return [...document.querySelectorAll("body *:not(script):not(option):not(svg *)")]
    .filter((node) => node.checkVisibility() && node.innerText && !node.children.length
      && !node.disabled && !node.closest(".skip"))
    .map((node) => {
      const pair = [light(parts(getComputedStyle(node).color)), light(ground(node))];
      pair.sort((a, b) => b - a);
      return (pair[0] + .05) / (pair[1] + .05);
    });
}"""
