"""A headless Chromium, told over its debugging port what to open."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp


def photograph(
    browser: str, token: str, pages: dict[str, tuple[str, Callable[[str], bool]]], out: Path, seconds: float = 60
) -> dict[str, str]:
    """Opens each URL until its text is as wanted, and writes <name>.png to `out`. Returns the texts, wanted or not."""
    return asyncio.run(_photograph(browser, token, pages, out, seconds))


async def _photograph(
    browser: str, token: str, pages: dict[str, tuple[str, Callable[[str], bool]]], out: Path, seconds: float
) -> dict[str, str]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--disable-extensions"]
        options += ["--disable-background-networking", "--window-size=1500,900", f"--user-data-dir={profile}"]
        process = subprocess.Popen([browser, *options, "about:blank"], stderr=subprocess.DEVNULL)
        try:
            port_file = Path(profile) / "DevToolsActivePort"
            deadline = time.monotonic() + seconds
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
    socket: Any, token: str, name: str, url: str, wanted: Callable[[str], bool], out: Path, seconds: float
) -> str:
    await _call(socket, "Network.enable")
    await _call(socket, "Network.setExtraHTTPHeaders", headers={"Authorization": f"Bearer {token}"})
    await _call(socket, "Page.navigate", url="about:blank")
    await _call(socket, "Page.navigate", url=url)
    deadline, text, turned = time.monotonic() + seconds, "", False
    while time.monotonic() < deadline and not wanted(text):
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
