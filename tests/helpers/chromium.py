"""Pages in a headless Chromium: their elements, and their complaints."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from patience import patience

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--window-size=1700,900")

# A window is never narrower than 500 pixels in headless Chromium, a frame is.
FRAME = """<!doctype html><title></title><body><iframe src="page.html" width="{width}" height="800"></iframe>
<script>addEventListener('load', () => setTimeout(() => {{
    document.title = document.querySelector('iframe').contentDocument.title }}, 500))</script>"""


def render(page: Path, profile: Path, *options: str) -> tuple[str, list[str]]:
    """The page's elements once it has loaded, and its console output."""
    assert CHROMIUM is not None
    options = ("--enable-logging=stderr", "--virtual-time-budget=6000", f"--user-data-dir={profile}", *options)
    command = [CHROMIUM, *QUIET, "--allow-file-access-from-files", *options, "--dump-dom", page.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=patience(200), check=True)
    return ran.stdout, [line for line in ran.stderr.splitlines() if "CONSOLE" in line]


def probed(page: str, probe: Mapping[str, str], folder: Path, width: int, *options: str) -> dict[str, Any]:
    """Values of JavaScript expressions in a report `width` pixels wide. A complaint on the console is an error."""
    values = ", ".join(f"{name}: {expression}" for name, expression in probe.items())
    script = f"addEventListener('load', () => {{ document.title = 'probed ' + JSON.stringify({{ {values} }}) }})"
    # The page allows only its script; the probe needs an exception.
    page = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", page)
    (folder / "page.html").write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    elements, complaints = render(folder / "frame.html", folder / "profile", *options)
    assert complaints == []
    title = re.search(r"<title>probed (.*?)</title>", elements)
    assert title is not None, elements[:500]
    result: dict[str, Any] = json.loads(title[1])
    return result


def photograph(
    token: str, pages: dict[str, tuple[str, Callable[[str], bool]]], out: Path, seconds: float = 60
) -> dict[str, str]:
    """Ray's dashboard: opens each URL until its text is as expected, and writes <name>.png to `out`.

    Returns the texts, expected or not.
    """
    return asyncio.run(_photograph(token, pages, out, seconds))


async def _photograph(
    token: str, pages: dict[str, tuple[str, Callable[[str], bool]]], out: Path, seconds: float
) -> dict[str, str]:
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--remote-debugging-port=0", "--disable-extensions", f"--user-data-dir={profile}"]
        process = subprocess.Popen([CHROMIUM, *QUIET, *options, "about:blank"], stderr=subprocess.DEVNULL)
        try:
            port_file = Path(profile) / "DevToolsActivePort"
            deadline = time.monotonic() + patience(seconds)
            while not port_file.exists() and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
            port = port_file.read_text().split()[0]
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    tab = next(target for target in await answer.json() if target["type"] == "page")
                async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    return {name: await _page(socket, token, name, *page, out, seconds) for name, page in pages.items()}
        finally:
            process.kill()
            process.wait()


async def _page(
    socket: Any, token: str, name: str, url: str, expected: Callable[[str], bool], out: Path, seconds: float
) -> str:
    await _call(socket, "Network.enable")
    await _call(socket, "Network.setExtraHTTPHeaders", headers={"Authorization": f"Bearer {token}"})
    await _call(socket, "Page.navigate", url="about:blank")
    await _call(socket, "Page.navigate", url=url)
    deadline, text, turned = time.monotonic() + patience(seconds), "", False
    while time.monotonic() < deadline and not expected(text):
        await asyncio.sleep(0.5)
        answer = await _call(socket, "Runtime.evaluate", expression="document.body.innerText", returnByValue=True)
        text = str(answer["result"].get("value", ""))
        if "Reverse:" in text and not turned:  # the list of actors: the oldest first
            turned = True
            await _call(socket, "Runtime.evaluate", expression="document.querySelector('[type=checkbox]').click()")
    picture = await _call(socket, "Page.captureScreenshot", format="png")
    (out / f"{name}.png").write_bytes(base64.b64decode(picture["data"]))
    return text


_number = 0


async def _call(socket: Any, method: str, **parameters: Any) -> Any:
    global _number
    _number += 1
    await socket.send_str(json.dumps({"id": _number, "method": method, "params": parameters}))
    async for message in socket:
        answer = json.loads(message.data)
        if answer.get("id") == _number:
            return answer["result"]
    raise ConnectionError("the browser went away")
