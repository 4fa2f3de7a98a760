"""Drive a headless Chromium over its DevTools protocol, for the tests of pages; nothing beside the standard library.

The protocol runs over two pipes (--remote-debugging-pipe): JSON messages that end in a zero byte, read by the browser
from descriptor 3 and written by it to 4.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--mute-audio",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)
PATIENCE_S = 60

# Descriptors 3 and 4 must be the pipes in the browser, whatever they are here.
_LAUNCHER = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3])
os.dup2(read, 3), os.dup2(write, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def find_chromium():
    """Return the path of a Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Chromium:
    """A browser; `with Chromium() as browser` ends it."""

    def __init__(self):
        self._profile = tempfile.mkdtemp(prefix="charrnn-chromium-")
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _LAUNCHER,
                str(to_read),
                str(to_write),
                find_chromium(),
                *FLAGS,
                f"--user-data-dir={self._profile}",
                "about:blank",
            ],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._rest, self._id, self.events = b"", 0, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close")
        except (OSError, AssertionError):
            self._process.kill()
        self._process.wait(PATIENCE_S)
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, path, width=1280, height=800, mobile=False, dark=False, fragment=""):  # noqa: PLR0913
        """Open a file in a new tab; return the Page once it has loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        page = Page(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.resize(width, height, mobile)
        page.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        page.call("Page.navigate", url=Path(path).resolve().as_uri() + fragment)
        page.wait("document.readyState === 'complete'")
        return page

    def call(self, method, session=None, **parameters):
        """Call a method of the protocol; return its result. What happens meanwhile is kept in `events`."""
        self._id += 1
        message = {"id": self._id, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        wanted, until = self._id, time.monotonic() + PATIENCE_S
        while True:
            answer = self._next(until)
            if answer.get("id") == wanted:
                if "navigated" in answer.get("error", {}).get("message", ""):
                    raise Navigated(method)
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def _next(self, until):
        while b"\0" not in self._rest:
            ready = select.select([self._read], [], [], max(0, until - time.monotonic()))[0]
            data = os.read(self._read, 1 << 20) if ready else b""
            if not data:
                raise OSError("the browser does not answer")
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


class Navigated(Exception):
    """The document that was asked is gone: a reload or a link came first."""


class Page:
    """A tab: evaluate, wait, press, move, shoot."""

    def __init__(self, browser, session):
        self._browser, self._session = browser, session

    def call(self, method, **parameters):
        return self._browser.call(method, self._session, **parameters)

    def resize(self, width, height, mobile=False):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=mobile)

    def run(self, expression):
        """Evaluate JavaScript; return its value, a promise's when it has come."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression):
        """Wait until an expression is true."""
        until = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(Navigated):  # asked again of the new document
                if self.run(expression):
                    return
            assert time.monotonic() < until, f"never came true: {expression}"
            time.sleep(0.02)

    def place(self, element):
        """Return the middle of an element, given as a JavaScript expression; scroll it into view first."""
        return self.run(
            f"(() => {{ const one = {element}; one.scrollIntoViewIfNeeded(); const box = one.getBoundingClientRect();"
            "return [box.left + box.width / 2, box.top + box.height / 2]; })()"
        )

    def move(self, element):
        self._mouse("mouseMoved", element)

    def click(self, element):
        self._mouse("mouseMoved", element)
        self._mouse("mousePressed", element, button="left", clickCount=1, buttons=1)
        self._mouse("mouseReleased", element, button="left", clickCount=1)

    def drag(self, first, last):
        self._mouse("mouseMoved", first)
        self._mouse("mousePressed", first, button="left", clickCount=1, buttons=1)
        for element in (first, last, last):
            self._mouse("mouseMoved", element, button="left", buttons=1)
        self._mouse("mouseReleased", last, button="left", clickCount=1)

    def _mouse(self, kind, element, **parameters):
        x, y = self.place(element)
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **parameters)

    def press(self, key, shift=False):
        """Press a key by its DOM name, such as "ArrowLeft" or "n"."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        common = {
            "key": key,
            "code": key if len(key) > 1 else "",
            "modifiers": 8 if shift else 0,
            "windowsVirtualKeyCode": 13 if key == "Enter" else 0,
        }
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def shoot(self, path, full=False):
        """Write a screenshot, a PNG."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def troubles(self):
        """Return what went wrong in this tab.

        Exceptions, console errors and warnings, refused or attempted requests.
        """
        found = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            method, parameters = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                found.append(parameters["exceptionDetails"].get("exception", parameters)["description"])
            elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                found.append(str(parameters["args"]))
            elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(parameters["entry"]["text"])
            elif method == "Network.requestWillBeSent" and not parameters["request"]["url"].startswith(
                ("file:", "data:", "about:", "blob:")
            ):
                found.append("request: " + parameters["request"]["url"])
        return found
