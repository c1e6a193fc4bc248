"""Debian's chromium, headless, driven over its DevTools protocol on loopback as a person would: by mouse and keys.

Source of the protocol: https://chromedevtools.github.io/devtools-protocol/. No script runs in the pages.
"""

import asyncio
import base64
import json
import shutil
import subprocess
import threading
import time
from contextlib import suppress

from aiohttp import ClientSession

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--hide-scrollbars",
    "--remote-debugging-port=0",
)  # fmt: skip
SECONDS = 20.0


class Refused(Exception):
    """The browser cannot do this just now."""


class Browser:
    """One tab. Everything that the browser logs as an error is kept in ``faults``."""

    def __init__(self, profile, *, width=1100, height=900):
        chromium = shutil.which("chromium")
        assert chromium, "make test-extra installs or asks for chromium"
        self.faults = []
        self._number, self._answers = 0, {}
        self._process = subprocess.Popen(
            [chromium, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self._run(self._attach(profile / "DevToolsActivePort"))
            for domain in ("Page", "DOM", "Log", "Network"):
                self.call(f"{domain}.enable")
            self.call("Emulation.setScriptExecutionDisabled", value=True)
            self.resize(width, height)
        except BaseException:
            self.close()
            raise

    def _run(self, coroutine, seconds=SECONDS):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(seconds)

    async def _attach(self, active):
        end = time.monotonic() + SECONDS
        while not (active.exists() and active.read_text().count("\n")):
            assert time.monotonic() < end, "chromium did not start"
            assert self._process.poll() is None, "chromium ended"
            await asyncio.sleep(0.05)
        port = active.read_text().splitlines()[0]
        self._session = ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            [tab] = [one for one in await answer.json() if one["type"] == "page"]
        self._socket = await self._session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0)
        self._reader = self._loop.create_task(self._read())

    async def _read(self):
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            elif told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.faults.append(told["params"]["entry"]["text"])

    async def _call(self, method, parameters):
        self._number += 1
        answer = self._answers[self._number] = self._loop.create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        return await answer

    def call(self, method, **parameters):
        """Call a method of the protocol."""
        told = self._run(self._call(method, parameters))
        if "error" in told:
            raise Refused(f"{method}: {told['error']}")
        return told["result"]

    def resize(self, width, height, *, dark=False):
        """How large the window is, and which colours its owner likes."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def go(self, url):
        """Enter an address, and wait until the page is there."""
        self.call("Page.navigate", url=url)
        self.settled()

    def reload(self):
        """Load the page again."""
        self.call("Page.reload")
        self.settled()

    def settled(self):
        """Wait until the page stays as it is; returns its HTML."""
        end, before = time.monotonic() + SECONDS, None
        while time.monotonic() < end:
            now = None
            with suppress(Refused):  # between two pages there is none
                now = (self.url(), self.html())
                if now == before and "</html>" in now[1] and 'http-equiv="refresh"' not in now[1]:
                    return now[1]
            before = now
            time.sleep(0.2)
        raise AssertionError(f"{before and before[0]} does not settle")

    def html(self):
        """The document as the browser has it."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        return self.call("DOM.getOuterHTML", nodeId=root)["outerHTML"]

    def url(self):
        """The address."""
        history = self.call("Page.getNavigationHistory")
        return history["entries"][history["currentIndex"]]["url"]

    def addresses(self):
        """Every address that the back button leads to, and the present one."""
        return [one["url"] for one in self.call("Page.getNavigationHistory")["entries"]]

    def find(self, selector):
        """The node that a CSS selector names."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        assert node, f"{selector} is not on {self.url()}"
        return node

    def click(self, selector):
        """Click in the middle of an element, and wait for what comes of it."""
        node = self.find(selector)
        self.call("DOM.scrollIntoViewIfNeeded", nodeId=node)
        box = self.call("DOM.getContentQuads", nodeId=node)["quads"][0]
        at = {"x": sum(box[0::2]) / 4, "y": sum(box[1::2]) / 4}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)
        self.settled()

    def type(self, selector, text):
        """Type into a field."""
        self.call("DOM.focus", nodeId=self.find(selector))
        self.call("Input.insertText", text=text)

    def press(self, key, code):
        """Press a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def width(self):
        """How wide the page is, in CSS pixels."""
        return self.call("Page.getLayoutMetrics")["cssContentSize"]["width"]

    def height(self, selector):
        """How high an element is, in CSS pixels."""
        box = self.call("DOM.getContentQuads", nodeId=self.find(selector))["quads"][0]
        return max(box[1::2]) - min(box[1::2])

    def picture(self, path, *, height):
        """Save the upper part of the page as PNG."""
        clip = {"x": 0, "y": 0, "width": self.width(), "height": height, "scale": 1}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", clip=clip)["data"]))

    def close(self):
        """End the browser."""
        with suppress(Exception):
            self._run(self._end(), 5)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self):
        await self._socket.close()
        await self._session.close()
        await self._reader
