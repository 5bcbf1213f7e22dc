"""The documentation is true: its links lead somewhere, its YAML is valid, and the README shows the shipped file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from sweeper.spec.document import Document
from sweeper.spec.load import spec_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text())
    broken = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_whole_search_space_in_a_page_is_valid(page: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), flags=re.DOTALL):
        if block.lstrip("# \n").startswith("name:") or "\nname:" in block:
            spec_of(Document.parse(block, name=page.name))


def test_the_readme_shows_the_shipped_quick_start() -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    shipped = yaml.safe_load((ROOT / "search_spaces/quickstart.yaml").read_text())
    del shipped["points"]  # left out for brevity
    assert yaml.safe_load(shown) == shipped
