"""The documentation as a site: it builds without a warning, its links resolve, and its examples are correct."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import nbformat
import pytest
from chromium import needs_chromium, render
from patience import patience


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, out = Path(__file__).resolve().parents[1], tmp_path_factory.mktemp("site")
    created = subprocess.run(
        [sys.executable, root / "docs/site.py", "--out", out],
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(300),
    )
    assert created.returncode == 0, created.stderr
    return out


class _Links(HTMLParser):
    """What a page leads to, and what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.leads: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        attribute_values = dict(attributes)
        (self.leads if tag == "a" else self.loads).extend(
            value for key in ("href", "src", "srcset") if (value := attribute_values.get(key)) is not None
        )


def links_of(page: Path) -> _Links:
    links = _Links()
    links.feed(page.read_text(encoding="utf-8"))
    return links


@pytest.mark.slow(130)
def test_links_lead_to_existing_sections(site: Path) -> None:
    pages = {page: links_of(page) for page in site.rglob("*.html") if "_downloads" not in page.parts}
    assert {"index.html", "statistics.html", "api.html", "spaces-dash.html", "ablation.html"} <= {
        page.name for page in pages
    }
    for page, links in pages.items():
        for link in (*links.leads, *links.loads):
            parts = urlparse(link)
            if parts.scheme in ("http", "https", "mailto", "data"):
                assert link in links.leads, f"{page.name} loads {link}"
                continue
            target = page.parent / unquote(parts.path) if parts.path else page
            assert target.exists(), f"{page.relative_to(site)} leads to {link}"
            if parts.fragment and target.suffix == ".html":
                assert f'id="{unquote(parts.fragment)}"' in target.read_text(encoding="utf-8"), f"{page.name}: {link}"


@pytest.mark.parametrize("name", ["quickstart", "ablation", "search", "guidance"])
def test_notebooks_run_from_top_to_bottom_and_draw(site: Path, root: Path, name: str) -> None:
    committed = nbformat.read(root / f"analysis/{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in committed.cells), "commit notebooks without outputs"
    (executed,) = (site / "_sources/notebooks").glob(f"{name}.ipynb*")
    outputs = [output for cell in nbformat.read(executed, as_version=4).cells for output in cell.get("outputs", [])]
    assert any({"image/svg+xml", "image/png"} & output.get("data", {}).keys() for output in outputs)
    if name == "quickstart":
        text = "\n".join(output.get("data", {}).get("text/plain", "") for output in outputs)
        assert "augment: raises accuracy by" in text
        assert "results/quickstart/report/index.html" in text


@needs_chromium
@pytest.mark.parametrize("name", ["index", "statistics", "spaces-dash", "notebooks/ablation"])
def test_pages_open_without_complaint(site: Path, name: str, tmp_path: Path) -> None:
    elements, complaints = render(site / f"{name}.html", tmp_path / "profile")
    assert "<h1>" in elements
    assert complaints == []


def test_verdicts_side_by_side_are_those_of_runs(root: Path) -> None:
    page = (root / "docs/evidence/claims.md").read_text()
    command = re.search(r"    python (docs/boards.py .*)", page.replace("\\\n", ""))
    assert command is not None
    ran = subprocess.run([sys.executable, *command[1].split()], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout in page


def printed(code: str) -> Iterator[str]:
    """The output that the comments of an example state."""
    for line in code.splitlines():
        visible = re.match(r"(?:print\(.*\)\s+)?# (.*)", line)
        if visible and line.startswith(("print(", "# ")):
            yield visible[1]


def test_worked_example_prints_stated_output(root: Path) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", (root / "docs/statistics.md").read_text(), re.DOTALL))
    ran = subprocess.run(
        [sys.executable, "-c", f"import numpy as np; np.set_printoptions(precision=3)\n{code}"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    output = [" ".join(line.split(",  of")[0].split(", of")[0].split()) for line in printed(code)]
    visible = " ".join(ran.stdout.split())
    assert len(output) == 14
    for line in output:
        assert line in visible, line
