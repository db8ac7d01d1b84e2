"""The page about metrics has a row for each, with the label and the unit that it has."""

from __future__ import annotations

import re
from pathlib import Path

from ragkit import registry

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_every_metric_is_on_the_page() -> None:
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` \| ([^|]+) \| (\w+) \| (higher|lower|–) \| .+ \| [^|]+ \|$",
        PAGE.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    said = {name: (label, unit) for name, label, unit, _ in rows}
    own = [one for one in registry.components() if one.distribution == "ragkit"]
    names = [one.component.name for one in own if one.role == "metric"]
    assert sorted(said) == sorted(names)
    for name in names:
        metric = registry.make("metric", name)
        label, unit = said[name]
        assert label.removesuffix("@k") == metric.label
        assert unit == getattr(metric, "unit", "share")
