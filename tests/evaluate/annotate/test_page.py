"""The page of a study in a real browser: by keyboard, by finger, after a reload, in the dark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import runs
from ragkit.evaluate.annotate import Study, begin, serving

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")

MARKUP = "<b>bold</b><script>document.title = 'broken'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        found = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    asked = runs.examples(3)
    pair = [
        runs.write(tmp_path / name, asked, lambda i, one, name=name: f"{MARKUP} {name} {i}")  # type: ignore[misc]
        for name in ("one", "two")
    ]
    return begin(tmp_path / "study", *pair, answers=True)


@pytest.fixture
def page(study: Study, browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    options = getattr(request, "param", {})
    with serving(study) as address:
        context = browser.new_context(base_url=address, **options)
        context.set_default_timeout(20_000)
        found = context.new_page()
        faults: list[str] = []
        found.on("console", lambda message: faults.append(message.text) if ours(message) else None)
        found.on("pageerror", lambda error: faults.append(str(error)))
        found.goto("/")
        yield found
        context.close()
    assert faults == []


def ours(message: Any) -> bool:
    """Whether a line of the console is not the browser's own on an answer that is an error."""
    return not message.text.startswith("Failed to load resource")


def enter(page: Any, name: str = "Ada") -> None:
    page.fill("#name", name)
    page.keyboard.press("Enter")
    page.wait_for_selector("#judge:not([hidden])")


def wait(page: Any, words: str) -> None:
    page.wait_for_function("w => document.body.innerText.includes(w)", arg=words)


def test_by_keyboard_alone_to_the_end(page: Any, study: Study) -> None:
    page.keyboard.type("Ada")  # the field has the focus
    page.keyboard.press("Enter")
    wait(page, "pair 1")
    for number in range(3):
        wait(page, f"{number} of 3 judged · pair {number + 1}")
        page.keyboard.press("1")
        page.keyboard.press("4")  # at once, before the first is answered
        wait(page, f"{number + 1} of 3 judged")
        page.keyboard.press("Enter")
    wait(page, "All judged")
    judged = study.judged("ada")
    assert [judged[id, "factuality"].choice for id in study.order("ada")] == ["left"] * 3
    assert [judged[id, "specificity"].choice for id in study.order("ada")] == ["neither"] * 3
    page.click("#review")
    wait(page, "pair 3")
    page.keyboard.press("ArrowLeft")
    wait(page, "pair 2")
    page.check("#factuality input[value=right]")
    page.wait_for_selector("#fault", state="hidden")
    page.reload()
    assert page.input_value("#name") == "ada"
    assert study.judged("ada")[study.order("ada")[1], "factuality"].choice == "right"


def test_texts_are_text(page: Any) -> None:
    enter(page)
    assert page.inner_text("#left").startswith(MARKUP)
    assert page.title() == "Which is better?"
    assert page.inner_text("#answers").startswith("answer ")


@pytest.mark.parametrize(
    "page",
    [{"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}],
    indirect=True,
)
def test_by_finger_on_a_phone(page: Any, study: Study) -> None:
    enter(page)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360
    for label in page.query_selector_all(".choices label, nav button"):
        assert label.bounding_box()["height"] >= 44
    page.tap("#factuality label:nth-child(2)")
    page.tap("#specificity label:nth-child(3)")
    wait(page, "1 of 3 judged")
    page.tap("#next")
    wait(page, "pair 2")
    assert study.judged("ada")[study.order("ada")[0], "factuality"].choice == "right"


@pytest.mark.parametrize(
    "page", [{"color_scheme": "dark"}, {"color_scheme": "light"}], indirect=True
)
def test_text_can_be_read_in_light_and_dark(page: Any) -> None:
    enter(page)
    ratios = page.evaluate(CONTRAST)
    assert min(ratios) >= 4.5  # WCAG AA
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) is dark


def test_a_server_that_is_gone_is_told_and_nothing_seems_kept(page: Any, study: Study) -> None:
    enter(page)
    page.route("**/judge", lambda route: route.abort("connectionrefused"))
    page.keyboard.press("2")
    wait(page, "The page's server does not answer")
    assert not page.is_checked("#factuality input[value=right]")
    assert study.judged("ada") == {}
    page.unroute("**/judge")
    page.keyboard.press("2")
    page.wait_for_selector("#fault", state="hidden")
    assert page.is_checked("#factuality input[value=right]")


def test_a_name_that_is_none(page: Any) -> None:
    page.fill("#name", "a/b")
    page.keyboard.press("Enter")
    wait(page, "is no name; type up to 40 letters")


CONTRAST = """() => {
  const light = (colour) => {
    const part = (v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(part);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!colour.endsWith(", 0)")) return colour;
    }
  };
  return [...document.querySelectorAll("#judge *")]
    .filter((node) => node.innerText && !node.children.length && !node.disabled)
    .map((node) => {
      const pair = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => b - a);
      return (pair[0] + .05) / (pair[1] + .05);
    });
}"""
