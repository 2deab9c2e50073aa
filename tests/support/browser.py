"""Headless Chromium, driven through the DevTools protocol over two pipes: it needs Debian's `chromium` and no more."""

import base64
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.needs import need_command

SECONDS = 60.0
"""For anything that is waited for; a page that works takes a hundredth of it."""
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-quic", "--disable-extensions",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows", "--hide-scrollbars", "--force-color-profile=srgb",
    "--font-render-hinting=none", "--remote-debugging-pipe",
)  # fmt: skip
EXEC = """
import os, sys
ours = [int(word) for word in sys.argv[1:3]]
os.dup2(ours[0], 100)
os.dup2(ours[1], 101)
os.dup2(100, 3)
os.dup2(101, 4)
os.closerange(5, 102)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads commands from descriptor 3 and answers on 4, which neither subprocess nor sh can arrange."""
KEYS = {
    "Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), "Home": (36, ""), "End": (35, ""), "PageDown": (34, ""),
    "ArrowDown": (40, ""), "ArrowUp": (38, ""), "ArrowLeft": (37, ""), "ArrowRight": (39, ""),
}  # fmt: skip


class PageFailed(AssertionError):
    """The page raised, or did not become what was waited for."""


class Browser:
    """One browser process; `tab()` opens pages in it."""

    def __init__(self, profile: Path) -> None:
        ours_read, theirs_write = os.pipe()
        theirs_read, ours_write = os.pipe()
        command = [need_command("chromium", "chromium"), *FLAGS, f"--user-data-dir={profile}"]
        words = [sys.executable, "-S", "-c", EXEC, str(theirs_read), str(theirs_write), *command]
        self._process = subprocess.Popen(
            words,
            pass_fds=(theirs_read, theirs_write), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(theirs_read)
        os.close(theirs_write)
        self._read, self._write, self._held, self._number = ours_read, ours_write, b"", 0
        self.listeners: dict[str, Callable[[str, dict[str, Any]], None]] = {}

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while True:
            answer = self._next(deadline)
            if answer.get("id") == number:
                if "error" in answer:
                    raise PageFailed(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._held:
            if not select.select([self._read], [], [], max(0, deadline - time.monotonic()))[0]:
                raise PageFailed("the browser does not answer")
            piece = os.read(self._read, 1 << 20)
            if not piece:
                raise PageFailed("the browser has ended")
            self._held += piece
        raw, _, self._held = self._held.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        listener = self.listeners.get(message.get("sessionId", ""))
        if listener and "method" in message:
            listener(message["method"], message["params"])
        return message

    def tab(self, width: int = 1280, height: int = 800) -> "Tab":
        """Open an empty page in a context of its own: no storage of another."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Tab(self, context, session, width, height)

    def close(self) -> None:
        """End the browser and all that it started."""
        os.close(self._write)
        os.close(self._read)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()


class Tab:
    """One page. What its scripts raise, log as errors or try against the policy is kept in `complaints`."""

    def __init__(self, browser: Browser, context: str, session: str, width: int, height: int) -> None:
        self._browser, self._context, self._session = browser, context, session
        self.complaints: list[str] = []
        self.requests: list[str] = []
        browser.listeners[session] = self._listen
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def close(self) -> None:
        """Close the page: left open it would go on asking its collector."""
        self._browser.call("Target.disposeBrowserContext", browserContextId=self._context)

    def _listen(self, method: str, found: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(found["exceptionDetails"].get("exception", {}).get("description")))
        elif method == "Runtime.consoleAPICalled" and found["type"] in ("error", "assert"):
            self.complaints.append(" ".join(str(one.get("value", one.get("description"))) for one in found["args"]))
        elif method == "Log.entryAdded" and found["entry"]["level"] == "error":
            if found["entry"]["source"] != "network":  # an answer of 404 is no fault of the page
                self.complaints.append(found["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command to this page."""
        return self._browser.call(method, self._session, **parameters)

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        """Set the size of the window."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def prefer(self, scheme: str) -> None:
        """Be a system that is `light` or `dark`, and that wants no motion."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def open(self, url: str) -> None:
        """Go somewhere."""
        self.call("Page.navigate", url=url)

    def js(self, expression: str) -> Any:
        """Return the value of an expression, awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise PageFailed(str(answer["exceptionDetails"].get("exception", answer["exceptionDetails"])))
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = SECONDS) -> Any:
        """Wait until an expression is true; return its value."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                value = self.js(f"((found) => found instanceof Node || found)({expression})")
            except PageFailed as error:  # the page may be in between two documents
                value, why = None, str(error)
            else:
                why = repr(value)
            if value:
                return value
            if time.monotonic() > deadline:
                raise PageFailed(f"waited in vain for {expression}: {why}; {self.complaints}; {self.text()[:2000]}")
            # Frames go on meanwhile, and the browser's answers come in.
            self.js("new Promise((resolve) => setTimeout(resolve, 20))")

    def text(self) -> str:
        """Return what the page says."""
        return str(self.js("document.body ? document.body.innerText : ''"))

    def wait_text(self, text: str) -> None:
        """Wait until the page says something."""
        self.wait(f"document.body && document.body.innerText.includes({json.dumps(text)})")

    def click(self, selector: str) -> None:
        """Click in the middle of an element, as a mouse does."""
        place = f"document.querySelector({json.dumps(selector)})"
        self.wait(f"{place} !== null")
        spot = self.js(
            f"(() => {{ const e = {place}; e.scrollIntoView({{block: 'nearest'}}); const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=spot[0], y=spot[1], button="left", clickCount=1)

    def move(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str, shift: bool = False) -> None:
        """Press a key: one of KEYS, or one that writes a character."""
        code, text = KEYS.get(key, (0, key))
        event = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call(
            "Input.dispatchKeyEvent",
            type="keyDown" if text else "rawKeyDown",
            **event,
            **({"text": text} if text else {}),
        )
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def write(self, text: str) -> None:
        """Write into the element that has the focus."""
        self.call("Input.insertText", text=text)

    def screenshot(self, path: Path) -> None:
        """Save what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def running_browser(profile: Path) -> Iterator[Browser]:
    """Start a browser, and end it."""
    browser = Browser(profile)
    try:
        yield browser
    finally:
        browser.close()
