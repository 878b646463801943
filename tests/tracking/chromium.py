"""Chromium without a window and without network, driven through its DevTools protocol on a pipe."""

import base64
import fcntl
import json
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

SECONDS = 60
FIRST_FREE = 10
_TO_BROWSER, _FROM_BROWSER = 3, 4


class Chromium:
    """One tab.  Everything but 127.0.0.1 goes to a proxy that is not there."""

    def __init__(self, program: str, profile: Path, size: tuple[int, int]) -> None:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += ["--disable-dev-shm-usage", f"--user-data-dir={profile}"]
        command += ["--proxy-server=127.0.0.1:9", "--proxy-bypass-list=127.0.0.1"]
        command += [f"--window-size={size[0]},{size[1]}", "--remote-debugging-pipe"]
        command += ["--force-prefers-reduced-motion", "--force-device-scale-factor=1"]
        theirs_in, self._out = map(_high, os.pipe())
        self._in, theirs_out = map(_high, os.pipe())

        def connect() -> None:
            os.dup2(theirs_in, _TO_BROWSER)
            os.dup2(theirs_out, _FROM_BROWSER)

        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=connect,  # noqa: PLW1509 -- these numbers are what Chromium expects
            pass_fds=(_TO_BROWSER, _FROM_BROWSER),
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._received, self._calls = b"", 0
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def open(self, address: str) -> None:
        self._call("Page.navigate", url=address)

    def value(self, script: str) -> Any:
        """What an expression is on the page."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script: str) -> None:
        """Return as soon as an expression is true."""
        until = time.monotonic() + SECONDS
        while not self.value(f"Boolean({script})"):
            text = self.value("document.body && document.body.innerText")
            assert time.monotonic() < until, f"{script}\n{text}"
            time.sleep(0.1)

    def picture(self, path: Path) -> None:
        """Write what is seen as PNG."""
        data = self._call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def _call(self, method: str, **parameters: Any) -> Any:
        self._calls += 1
        message: dict[str, Any] = {"id": self._calls, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._calls:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            more = os.read(self._in, 1 << 20)
            assert more, "Chromium ended"
            self._received += more
        first, _, self._received = self._received.partition(b"\0")
        found: dict[str, Any] = json.loads(first)
        return found


def _high(number: int) -> int:
    """The same file under a number that `connect` does not overwrite."""
    high = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
    os.close(number)
    return high
