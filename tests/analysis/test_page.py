"""The page in a real browser: no complaint on the console, no request, each picture drawn."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from chromium import needs_chromium, probed

from branchwise.analysis.report.build import build_report


@needs_chromium
def test_page_opens_without_complaint_or_request(full_run: Path, tmp_path: Path) -> None:
    probe = {
        "requests": """performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))""",
        "flat": """[...document.querySelectorAll('svg, img')].filter(
            e => e.getBoundingClientRect().height < 50).length""",
        "drawn": "document.querySelectorAll('figure svg').length",
        "wide": "document.documentElement.scrollWidth > innerWidth",
        "ordered": """['ascending', 'descending'].map(order => {
            const table = document.querySelector('#table-cells table');
            const at = [...table.tHead.rows[0].cells].findIndex(head => head.textContent.includes('mean'));
            table.tHead.rows[0].cells[at].click();
            const numbers = [...table.tBodies[0].rows].map(row => parseFloat(row.cells[at].textContent));
            const sign = order === 'ascending' ? 1 : -1;
            return numbers.filter(x => !isNaN(x)).every((x, i, all) => !i || sign * (x - all[i - 1]) >= 0);
        })""",
    }
    page = (full_run / "report/index.html").read_text()
    expected = {"requests": [], "flat": 0, "drawn": 9, "wide": False, "ordered": [True, True]}
    assert probed(page, probe, tmp_path, 1200) == expected


def test_page_runs_only_its_script(full_run: Path) -> None:
    page = (full_run / "report/index.html").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


def test_contents_link_to_existing_sections(full_run: Path) -> None:
    page = (full_run / "report" / "index.html").read_text()
    contents = page[page.index("<nav") : page.index("</nav>")]
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    inside = re.findall(r'href="#([^"]+)"', page)
    assert set(inside) <= ids
    assert {"answer", "evidence", "sources", "table-claims", "table-cells", "samples"} <= set(
        re.findall(r'href="#([^"]+)"', contents)
    )


def test_arms_lead_to_their_settings_students_and_logs(make_run: Callable[..., Path]) -> None:
    folder = make_run(failed={"anchor-b0": "failed"})
    arms = pd.read_parquet(folder / "arms.parquet")
    arms["hp.anchor_weight"] = [0.1 if on else 0.0 for on in arms["component.anchor"]]
    arms.to_parquet(folder / "arms.parquet")
    (folder / "students/uncond_branch+anchor-b1").mkdir(parents=True)
    (folder / "arms").mkdir()
    (folder / "arms/anchor-b0.json").write_text("{}")
    (folder / "logs").mkdir()
    (folder / "logs/t0.txt").write_text("Traceback")
    manifest = json.loads((folder / "manifest.json").read_text())
    ran = {"started": "2026-11-30T16:00:00+00:00", "ended": "2026-11-30T20:00:00+00:00", "spent": {"hours": 1.5}}
    (folder / "manifest.json").write_text(json.dumps(manifest | ran))
    build_report([folder])
    page = (folder / "report/index.html").read_text()
    assert "<dd>1:30:00</dd>" in page, "the pauses between sessions are not the run's"
    links = [unquote(link) for link in re.findall(r'<a href="(\.\.[^"]*)"', page)]
    assert {"../space.yaml", "../logs/", "../students/uncond_branch+anchor-b1/", "../arms/anchor-b0.json",
            "../logs/t0.txt"} <= set(links)  # fmt: skip
    assert all((folder / "report" / link).exists() for link in links)
    row = page[page.index('id="arm-anchor-b0"') :]
    assert "anchor_weight 0.1" in row[: row.index("</tr>")]
    build_report([folder], folder.parent / "elsewhere")
    links = re.findall(r'<a href="(\.\.[^"]*)"', (folder.parent / "elsewhere/index.html").read_text())
    assert all((folder.parent / "elsewhere" / unquote(link)).exists() for link in links)


@needs_chromium
def test_phone_shows_evidence_and_p_values(full_run: Path, tmp_path: Path) -> None:
    """At 390 pixels no element is off the screen, and table cells are not too narrow for text."""
    probe = {
        "wide": "document.documentElement.scrollWidth > innerWidth",
        "off": """[...document.querySelectorAll('#table-claims td, #table-attribution td')].filter(
            e => e.getBoundingClientRect().right > innerWidth).length""",
        "narrow": """[...document.querySelectorAll('#table-claims td span')].filter(
            e => e.textContent.length > 20 && e.getBoundingClientRect().width < 150).length""",
    }
    page = (full_run / "report/index.html").read_text()
    assert probed(page, probe, tmp_path, 390) == {"wide": False, "off": 0, "narrow": 0}


@pytest.fixture(scope="module")
def running(full_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run as its copy looks while it runs, with its interim report."""
    folder = shutil.copytree(full_run, tmp_path_factory.mktemp("running") / "demo")
    shutil.rmtree(folder / "report")
    manifest = json.loads((folder / "manifest.json").read_text())
    progress = {"blocks": "4 of 5 finished", "arms": "36 of 45 finished (36 done)", "left": "about 2 min 40 s"}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "progress": progress}))
    build_report([folder])
    return folder


def test_interim_page_shows_progress_and_no_verdict(running: Path, full_run: Path) -> None:
    page = (running / "report/index.html").read_text()
    assert "4 of 5 finished" in page
    assert "about 2 min 40 s" in page
    assert "uncond_branch.share &gt; 0.60" in page
    for verdict in ("supported", "refuted", "not shown", "p (Holm)"):
        assert verdict not in page[page.index("<body>") :]
    assert {file.name for file in (running / "report").iterdir()} == {"index.html", "ablation.json"}
    build_report([full_run], running / "report")  # the final report replaces it
    assert "4 of 5 finished" not in (running / "report/index.html").read_text()
    assert (running / "report/ablation.csv").exists()
    build_report([running], running / "report")


@needs_chromium
@pytest.mark.parametrize("width", [390, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", ["interim", "final"])
def test_pages_fit_any_state_width_and_scheme(
    full_run: Path, running: Path, tmp_path: Path, state: str, scheme: str, width: int
) -> None:
    probe = {
        "wide": "document.documentElement.scrollWidth > innerWidth",
        "dark": "getComputedStyle(document.body).backgroundColor === 'rgb(21, 24, 28)'",
        "flat": """[...document.querySelectorAll('figure svg')].filter(
            e => e.getBoundingClientRect().height < 50).length""",
    }
    page = ((running if state == "interim" else full_run) / "report/index.html").read_text()
    preferred = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    assert probed(page, probe, tmp_path, width, preferred) == {"wide": False, "dark": scheme == "dark", "flat": 0}
