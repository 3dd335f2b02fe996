"""A trace as plain data, and a real browser to look at pages with."""

import asyncio
import functools
import hashlib
import http.server
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.chromium import FLAGS
from tests.unit.tuning.waiting import stop


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture
def build_trace() -> Callable[..., dict[str, Any]]:
    """A function that gives what `kumulus trace --json` prints for a map of three stages; `label` names the map."""
    return _build


def _build(label: str = "maps/x_class.tif", sources: int = 2) -> dict[str, Any]:
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, str]] = []

    def node(node_id: str, of_kind: str, shown: str, /, **facts: str) -> None:
        nodes.append({"id": node_id, "kind": of_kind, "label": shown, "facts": facts})

    def edge(start: str, end: str, how: str) -> None:
        edges.append({"from": start, "to": end, "how": how})

    node("subject", "file", label, kind="geotiff", sha256=digest("map"), provenance=digest("p"))
    node("statement", "statement", "lineage.json", finished="2026-01-02T03:04:05+00:00", commit="c" * 40)
    edge("subject", "statement", "named by")
    for other in ("model.onnx", "provenance.json"):
        node(f"subject:{other}", "file", other, sha256=digest(other))
        edge("statement", f"subject:{other}", "names")
    node("run", "run", "k" * 32, key="k" * 32, name="calm-crane")
    edge("statement", "run", "states")
    node("provenance", "provenance", "provenance.json", sha256=digest("p"))
    edge("subject", "provenance", "carries")
    node("params", "params", "params.yaml", **{f"train.key{n}": str(n) for n in range(20)})
    node("lock", "lock", "requirements.lock", sha256=digest("lock"))
    reads = {"acquire": [], "train": ["data/raw"], "export": ["models/checkpoint", "data/raw"]}
    for stage, artifacts in reads.items():
        node(f"stage:{stage}", "stage", stage, origin="computed here")
        node(f"environment:{stage}", "environment", f"environment of {stage}", device="cpu", cpu="A long name of a CPU")
        edge(f"stage:{stage}", f"environment:{stage}", "ran on")
        for shared in ("params", "lock"):
            edge(f"stage:{stage}", shared, "reads")
        for artifact in artifacts:
            edge(f"stage:{stage}", f"artifact:{artifact}", "reads")
    for artifact, stage, files in (("data/raw", "acquire", ("scenes/x.tif", "labels.gpkg")),
                                   ("models/checkpoint", "train", ("members/0/weights.safetensors",))):
        node(f"artifact:{artifact}", "artifact", artifact, md5=digest(artifact)[:32] + ".dir")
        edge(f"artifact:{artifact}", f"stage:{stage}", "made by")
        for file in files:
            node(f"file:{artifact}/{file}", "file", f"{artifact}/{file}", sha256=digest(file))
            edge(f"artifact:{artifact}", f"file:{artifact}/{file}", "holds")
    for code, stages in (("pipeline/paths.py", tuple(reads)), ("pipeline/training/step.py", ("train",))):
        node(f"code:{code}", "code", code, sha256=digest(code), stages=", ".join(stages))
        for stage in stages:
            edge(f"stage:{stage}", f"code:{code}", "runs")
    for number in range(sources):
        node(f"source:{number}", "source", f"scenes/{number}.tif", licence="CC-BY-4.0",
             **{"from": f"https://example.org/{number}.tif"})
        edge("stage:acquire", f"source:{number}", "fetched")
    edge("subject", "stage:export", "made by")
    return {"root": "subject", "nodes": nodes, "edges": edges, "missing": []}


@pytest.fixture
def verified() -> Callable[..., dict[str, Any]]:
    """A function that adds a report to a trace: every node verified but those named with another verdict."""

    def add(found: dict[str, Any], **verdicts: str) -> dict[str, Any]:
        links = []
        for node in found["nodes"]:
            if node["kind"] in ("stage", "environment", "run"):
                continue
            verdict = next((v for v, names in verdicts.items() if node["id"] in names.split()), "verified")
            expected = node["facts"].get("sha256", "")
            links.append({"node": node["id"], "name": node["label"], "place": "workspace", "verdict": verdict,
                          "expected": expected, "found": expected if verdict == "verified" else "f00d",
                          "message": "" if verdict == "verified" else f"it is {verdict}", "counts": True})
        broken = [link for kind in ("contradicted", "absent") for link in links if link["verdict"] == kind]
        word = {"contradicted": "contradicted", "absent": "unverifiable"}.get(
            broken[0]["verdict"] if broken else "", "verified")
        return {**found, "verify": {"verdict": word, "first_broken": broken[0] if broken else None, "links": links}}

    return add


class Browser:
    """One page of a real Chromium, driven by the DevTools protocol over its websocket."""

    def __init__(self, program: str, profile: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._process = subprocess.Popen([program, *FLAGS, "--remote-debugging-port=0",
                                          f"--user-data-dir={profile}", "about:blank"],
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._number = 0
        #: Events as they came: requests, exceptions, refusals of the content security policy.
        self.events: list[dict[str, Any]] = []
        try:
            self._loop.run_until_complete(self._connect(profile / "DevToolsActivePort"))
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    async def _connect(self, port_file: Path) -> None:
        for _ in range(600):
            if port_file.is_file() and port_file.read_text().count("\n"):
                break
            assert self._process.poll() is None, "the browser ended at once"
            await asyncio.sleep(0.1)
        base = f"http://127.0.0.1:{port_file.read_text().splitlines()[0]}"
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"{base}/json/list") as answer:
            pages = [target for target in await answer.json() if target["type"] == "page"]
        self._socket = await self._session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while True:
            message = await asyncio.wait_for(self._socket.receive_json(), 120)
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])
            self.events.append(message)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A method of the DevTools protocol."""
        return self._loop.run_until_complete(self._call(method, params))

    def open(self, address: str, script: bool = True, width: int = 1440, height: int = 1000, **media: str) -> None:
        """Load a page; `media` emulates features of media queries, such as prefers_color_scheme="dark"."""
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", media=media.pop("type", ""), features=[
            {"name": name.replace("_", "-"), "value": value} for name, value in media.items()])
        self.call("Page.navigate", url="about:blank")
        self.events.clear()
        self.call("Page.navigate", url=address)
        for _ in range(1200):
            if self.js("document.readyState") == "complete" and self.js("location.href") != "about:blank":
                return
            self._loop.run_until_complete(asyncio.sleep(0.05))
        raise AssertionError(f"{address} did not load")

    def js(self, expression: str) -> Any:
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def key(self, name: str, text: str = "") -> None:
        """Press and let go a key."""
        codes = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        typed = {"text": text} if text else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, windowsVirtualKeyCode=codes.get(name, 0),
                      **(typed if kind == "keyDown" else {}))

    def click(self, selector: str) -> None:
        """Click in the middle of an element."""
        self.js(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        box = self.js(f"JSON.parse(JSON.stringify(document.querySelector({selector!r}).getBoundingClientRect()))")
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **place)

    def requested(self) -> list[str]:
        """Addresses that the page asked for, data: among them."""
        return [event["params"]["request"]["url"] for event in self.events
                if event.get("method") == "Network.requestWillBeSent"]

    def problems(self) -> list[dict[str, Any]]:
        """Exceptions and errors in the browser's log."""
        return [event for event in self.events if event.get("method") == "Runtime.exceptionThrown"
                or (event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error")]

    def close(self) -> None:
        """End the browser."""
        async def leave() -> None:
            await self._socket.close()
            await self._session.close()

        try:
            self._loop.run_until_complete(leave())
        finally:
            self._loop.close()
            stop(self._process)


@pytest.fixture(scope="module")
def browser(browser_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium with an empty profile."""
    made = Browser(browser_program, tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


class Site:
    """A folder that is served on loopback, and what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        site = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, format: str, *words: Any) -> None:
                site.asked.append(self.path)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def put(self, page: str, name: str = "page.html") -> str:
        """Write a page; its address. Forgets what was asked before."""
        (self.folder / name).write_text(page, encoding="utf-8")
        self.asked.clear()
        return f"{self.address}/{name}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A web server on loopback."""
    made = Site(tmp_path)
    yield made
    made.close()
