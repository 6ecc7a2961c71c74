"""A real browser for the tests: Chromium without a window, driven through its DevTools protocol.

The protocol comes over a pipe (`--remote-debugging-pipe`), so there is no port that two tests could want, and no library
for web sockets. What a page writes to its console as an error, and what it throws, is kept: a test looks at it.
"""

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECONDS = 30
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--disable-background-networking",
    "--no-first-run", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip

BEGIN = "import os, sys; [os.dup2(int(sys.argv[place - 2]), place) for place in (3, 4)]; os.execv(sys.argv[3], sys.argv[3:])"
"""It reads orders from descriptor 3 and answers on 4."""

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")


@dataclass
class Page:
    """A tab. `said`: what its console and its exceptions said since it was opened."""

    process: subprocess.Popen[bytes]
    orders: int
    answers: int
    session: str = ""
    said: list[str] = field(default_factory=list)
    _sent: int = 0
    _left: bytes = b""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol, and its answer."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.orders, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._sent:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self._listen(answer)

    def open(
        self, address: str, width: int = 1280, height: int = 900, scheme: str = "light", script: bool = True
    ) -> None:
        """Load an address (again, if it differs in its fragment alone) at a size, in a colour scheme."""
        self.said.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def eval(self, expression: str) -> Any:
        """What a JavaScript expression (a promise is waited for) comes to in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str, seconds: float = SECONDS) -> None:
        """Wait for an expression to become true."""
        deadline = time.monotonic() + seconds
        while not self.eval(expression):
            assert time.monotonic() < deadline, f"still not true: {expression}; the page said {self.said}"
            time.sleep(0.02)

    @contextmanager
    def frame(self, scheme: str) -> Iterator[None]:
        """Within, the page is a frame of this one that has a process of its own, as a sandboxed one has."""
        whole, frames = self.session, list[dict[str, Any]]()
        deadline = time.monotonic() + SECONDS
        try:
            self.session = ""
            while not frames:
                assert time.monotonic() < deadline, f"no frame of {scheme}"
                targets = self.call("Target.getTargets")["targetInfos"]
                frames = [one for one in targets if one["type"] == "iframe" and one["url"].startswith(scheme)]
            answer = self.call("Target.attachToTarget", targetId=frames[0]["targetId"], flatten=True)
            self.session = answer["sessionId"]
            for domain in ("Runtime", "Log"):
                self.call(f"{domain}.enable")
            self.until("document.readyState === 'complete'")
            yield
        finally:
            self.session = whole

    def press(self, key: str, code: int, text: str = "", modifiers: int = 0) -> None:
        """A key of the keyboard, down and up."""
        same = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown", **same, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **same)

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._left:
            ready, _, _ = select.select([self.answers], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "Chromium does not answer"
            read = os.read(self.answers, 1 << 20)
            assert read, f"Chromium ended with {self.process.poll()}"
            self._left += read
        message, _, self._left = self._left.partition(b"\0")
        return dict(json.loads(message))

    def _listen(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                details = told["exceptionDetails"]
                self.said.append(details.get("exception", {}).get("description", details["text"]))
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "assert"):
                self.said.append(" ".join(str(one.get("value", one.get("description"))) for one in told["args"]))
            case "Log.entryAdded" if told["entry"]["level"] == "error":
                self.said.append(told["entry"]["text"])


def _out_of_the_way(descriptor: int) -> int:
    """The same pipe at a number that is neither 3 nor 4."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


@contextmanager
def browser() -> Iterator[Page]:
    """An open tab; nothing of the browser is left afterwards."""
    assert CHROMIUM is not None
    (to_it, orders), (answers, from_it) = (map(_out_of_the_way, os.pipe()) for _ in range(2))
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [sys.executable, "-c", BEGIN, str(to_it), str(from_it), CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_it, from_it), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(to_it)
        os.close(from_it)
        page = Page(process, orders, answers)
        try:
            target = page.call("Target.createTarget", url="about:blank")["targetId"]
            session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            page.session = session
            for domain in ("Page", "Runtime", "Log"):
                page.call(f"{domain}.enable")
            yield page
        finally:
            page.session = ""
            os.write(orders, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(orders)
            os.close(answers)
