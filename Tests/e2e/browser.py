"""A headless Chromium, driven over its debugging pipe with the standard library alone."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time


class BrowserError(Exception):
    """The browser did not start, did not answer, or threw."""


def find_chromium():
    """The path of Debian's chromium or of a Chrome, or None."""
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if shutil.which(name):
            return shutil.which(name)
    return None


class Browser:
    """One page of one browser; a context manager that leaves nothing behind.

    The pipe (`--remote-debugging-pipe`: NUL-separated JSON on descriptors 3 and 4) needs neither a free port nor
    a WebSocket. `errors` collects what a developer would see in red: console errors, exceptions, refused policies.
    """

    def __init__(self, width=1280, height=900, timeout_seconds=60):
        self.width, self.height = width, height
        self.timeout_seconds = timeout_seconds
        self.errors = []
        self._next_id = 0
        self._unread = b""
        self._profile = tempfile.mkdtemp(prefix="vintner-browser-")

    def __enter__(self):
        path = find_chromium()
        if path is None:
            raise BrowserError("no chromium found; run 'make test-deps'")
        child_reads, self._writes = os.pipe()
        self._reads, child_writes = os.pipe()

        def wire():
            # Above 4 first: either end may itself be 3 or 4.
            reads, writes = os.dup(child_reads), os.dup(child_writes)
            high_reads, high_writes = os.dup2(reads, 63), os.dup2(writes, 64)
            os.dup2(high_reads, 3)
            os.dup2(high_writes, 4)

        self._process = subprocess.Popen(
            [path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio",
             "--hide-scrollbars", "--no-first-run", "--disable-background-networking", "--remote-debugging-pipe",
             f"--user-data-dir={self._profile}", f"--window-size={self.width},{self.height}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False,
            preexec_fn=wire)
        os.close(child_reads)
        os.close(child_writes)
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        self.resize(self.width, self.height)
        return self

    def __exit__(self, *_):
        try:
            self._session = None
            self.call("Browser.close")
            self._process.wait(timeout=10)
        except (BrowserError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._writes)
        os.close(self._reads)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method, **parameters):
        """Sends one command and returns its result; events that come first are noted."""
        self._next_id += 1
        message = {"id": self._next_id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self.timeout_seconds
        while True:
            answer = self._read(deadline)
            if answer.get("id") == message["id"]:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error'].get('message')}")
                return answer.get("result", {})
            self._note(answer)

    def _read(self, deadline):
        while b"\0" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._reads], [], [], left)[0]:
                raise BrowserError("the browser did not answer in time")
            chunk = os.read(self._reads, 1 << 20)
            if not chunk:
                raise BrowserError("the browser went away")
            self._unread += chunk
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        text = self._complaint(event)
        if text and text not in self.errors:
            self.errors.append(text)

    @staticmethod
    def _complaint(event):
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            text = details.get("exception", {}).get("description") or details.get("text")
            return f"exception: {text}"
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "assert"):
            values = [str(a.get("value", a.get("description"))) for a in parameters["args"]]
            return "console: " + " ".join(values)
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            entry = parameters["entry"]
            return f"{entry['source']}: {entry['text']} {entry.get('url', '')}"
        return None

    def resize(self, width, height, is_phone=False):
        """Lays the page out for a window of that many CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=is_phone)

    def prefer(self, scheme):
        """Asks the page for its `light` or `dark` colours."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, address):
        """Goes to an address; returns when the navigation is committed."""
        result = self.call("Page.navigate", url=address)
        if result.get("errorText"):
            raise BrowserError(f"{address}: {result['errorText']}")

    def evaluate(self, expression):
        """The value of a JavaScript expression in the page; promises are awaited."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return result["result"].get("value")

    def wait_for(self, expression, seconds=20):
        """Waits until an expression is truthy in JavaScript's sense."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.evaluate(f"!!({expression})"):
                return
            time.sleep(0.05)
        raise BrowserError(f"after {seconds} s still not true: {expression}")

    def screenshot(self, path, full_page=False):
        """Writes what the page shows as a PNG file."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full_page)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
