"""A headless Chromium, spoken to as WebDriver (W3C) says, with nothing but the standard library."""

import base64
import json
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import Any, Self

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver, "web element identifier"


class Browser:
    """One window. `dark`: as somebody who prefers that."""

    def __init__(self, *, dark: bool = False) -> None:
        self._profile = tempfile.TemporaryDirectory()
        self._driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            self._base = f"http://127.0.0.1:{self._port()}"
            self._base += (
                f"/session/{self._ask('POST', '/session', _wishes(self._profile.name, dark))['sessionId']}"
            )
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ask("DELETE", "")
        self._end()

    def _end(self) -> None:
        self._driver.kill()
        self._driver.communicate()
        self._profile.cleanup()

    def _port(self) -> int:
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if "successfully on port " in line:
                return int(line.rsplit("port ", 1)[1].strip().rstrip("."))
        raise OSError("chromedriver does not start")

    def _ask(self, method: str, path: str, body: "dict[str, Any] | None" = None) -> Any:
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(
            self._base + path, data, {"Content-Type": "application/json"}, method=method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, page: Path, view: str = "") -> None:
        self._ask("POST", "/url", {"url": f"file://{page}{view}"})

    def run(self, script: str, *arguments: Any) -> Any:
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def type(self, selector: str, text: str) -> None:
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        self._ask("POST", f"/element/{found[_ELEMENT]}/value", {"text": text})

    def click(self, selector: str) -> None:
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        self._ask("POST", f"/element/{found[_ELEMENT]}/click")

    def picture(self) -> bytes:
        return base64.b64decode(self._ask("GET", "/screenshot"))

    def complaints(self) -> list[str]:
        """What the page's console says of errors, blocked requests and broken policies."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]


def _wishes(profile: str, dark: bool) -> dict[str, Any]:
    arguments = [
        "--headless=new",
        "--no-sandbox",  # root in a container has none
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--window-size=1280,900",
        f"--user-data-dir={profile}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
    ]
    options = {"args": arguments}
    logs = {"browser": "ALL"}
    return {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": logs}}}
