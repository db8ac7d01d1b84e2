"""Links of README, docs and the pages beside packages: files and headings are there.

Links to the web are only looked at for their form: no test fetches.
"""

from __future__ import annotations

import pkgutil
import re
import unicodedata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("plugins/*/*.md")),
    *sorted(ROOT.glob("benchmarks/*/README.md")),
]
LINK = re.compile(r"(?<!\\)\[(?:[^][]|\[[^]]*\])*\]\(([^()\s]+(?:\([^()]*\))?[^()\s]*)\)")
CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """A page without its code, in which brackets are no links."""
    return CODE.sub("code", text)


def links(text: str) -> list[str]:
    return LINK.findall(prose(text))


def anchors(text: str) -> set[str]:
    """What a heading can be linked by, as Python-Markdown and GitHub agree on it."""
    fenced = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.+?) *#*$", fenced, re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading)
        plain = unicodedata.normalize("NFKD", shown).encode("ascii", "ignore").decode()
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
        found[slug] = found.get(slug, -1) + 1
    again = {f"{slug}_{n}" for slug, most in found.items() for n in range(1, most + 1)}
    return set(found) | again


def fault(page: Path, link: str) -> str | None:
    """What is wrong with a link of a page."""
    if link.startswith(("https://", "mailto:")):
        return (
            None if re.fullmatch(r"https://[\w.-]+(/\S*)?|mailto:\S+@\S+", link) else "no address"
        )
    if ":" in link.partition("#")[0]:
        return "neither a file nor https"
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.is_relative_to(ROOT):
        return "leads out of the repository"
    if not target.exists():
        return "there is no such file"
    if (ROOT / "docs") in page.parents and (ROOT / "docs") not in target.parents:
        return "leads out of docs/, which is all that the site has"
    if anchor and target.suffix != ".md":
        return "an anchor in what is no page"
    text = target.read_text(encoding="utf-8") if anchor else ""
    if anchor and anchor not in anchors(text) and not _documented(text, anchor):
        return f"there is no heading {anchor!r}"
    return None


def _documented(text: str, name: str) -> bool:
    """Whether a page takes this name's docstring in (``::: module``), and the name is one."""
    homes = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    home = next((one for one in homes if f"{name}.".startswith(f"{one}.")), None)
    if home is None:
        return False
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return bool(getattr(found, "__doc__", None))


@pytest.mark.parametrize("page", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    found = [(link, fault(page, link)) for link in links(page.read_text(encoding="utf-8"))]
    assert [f"{link}: {wrong}" for link, wrong in found if wrong] == []


def test_links_are_found() -> None:
    text = "[a](b.md) `[no](code.md)` [`c`](d.md#e) \\[x](y)\n```\n[no](z)\n```\n[![i](j.svg)](k)\n"
    assert links(text) == ["b.md", "d.md#e", "k"]
    for page in PAGES:
        written = page.read_text(encoding="utf-8")
        assert len(links(written)) == prose(written).count("]("), page


def test_a_wrong_link_is_noticed() -> None:
    page = ROOT / "docs" / "index.md"
    assert fault(page, "quickstart.md#train-it") is None
    wrong = {
        "quickstart.md#train": "no heading",
        "quickstarts.md": "no such file",
        "../README.md": "leads out of docs",
        "../../elsewhere": "out of the repository",
        "way.svg#line": "no page",
        "http://example.org": "neither",
        "https://": "no address",
    }
    for link, why in wrong.items():
        assert why in (fault(page, link) or "")


def test_anchors_are_those_of_the_site() -> None:
    toc = pytest.importorskip("markdown.extensions.toc")
    page = ROOT / "docs" / "performance.md"
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert {toc.slugify(one, "-") for one in headings} <= anchors(text)
    assert anchors("# A `b` — c’s\n## It's\n## It's\n") == {"a-b-cs", "its", "its_1"}
