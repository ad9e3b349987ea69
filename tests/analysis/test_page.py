"""The page in a real browser: no complaint on the console, no request, every picture drawn."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here; the page's structure is tested without one")
def test_page_opens_without_a_complaint_or_a_request(whole, tmp_path):
    probe = """<script>addEventListener('load', () => { document.title = 'checked ' + JSON.stringify({
        requests: performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:')),
        flat: [...document.querySelectorAll('svg, img')].filter(e => e.getBoundingClientRect().height < 50).length,
        drawn: document.querySelectorAll('figure svg').length,
        wide: document.documentElement.scrollWidth > innerWidth }) })</script>"""
    page = (whole / "report" / "index.html").read_text()
    # The page itself allows no script: the probe needs that one word changed.
    page = page.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    page = page.replace("</body>", probe)
    (tmp_path / "probed.html").write_text(page)
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
               "--enable-logging=stderr", "--virtual-time-budget=4000", "--window-size=1200,900",
               f"--user-data-dir={tmp_path}/profile", "--dump-dom", (tmp_path / "probed.html").as_uri()]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    title = re.search(r"<title>checked (.*?)</title>", ran.stdout)
    assert title is not None
    assert title[1] == '{"requests":[],"flat":0,"drawn":8,"wide":false}'
    assert "CONSOLE" not in ran.stderr
