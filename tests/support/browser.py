"""A real Chromium with a fake camera, the videos that its camera shows, and a stub of a customer's site."""

import base64
import io
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import cv2
import numpy as np
import pytest
from PIL import Image

from support.pictures import astronaut, no_face

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "clients/web"
MODULES = WEB / "node_modules"
NAMED = "face.test"  # a name that is not local, so that its pages count as insecure over plain HTTP


def needs_node() -> None:
    """Skip where the tools of clients/web are not installed."""
    if shutil.which("node") is None or not (MODULES / ".bin/esbuild").exists():
        pytest.skip("needs node and `npm ci` in clients/web")


def node(*arguments: str | Path, **options: Any) -> str:
    """Run node in clients/web; what it prints."""
    done = subprocess.run(
        ["node", *map(str, arguments)], cwd=WEB, capture_output=True, text=True, timeout=120, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def seen(x=0.5, y=0.48, size=0.5):
    """The astronaut as a camera of 640x480 sees her: the middle and the height of her face in shares of the frame."""
    scale = size * 480 / 114
    matrix = np.array([[scale, 0, x * 640 - scale * 223], [0, scale, y * 480 - scale * 117]])
    return cv2.warpAffine(astronaut(), matrix, (640, 480), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def turned(frame, share=-0.75, half=120):
    """One half of the face in the middle squeezed and the other one stretched, as when the head is turned."""
    columns = np.arange(640, dtype=np.float32)
    nose = 320 + share * half
    columns = np.interp(columns, [0, 320 - half, nose, 320 + half, 639], [0, 320 - half, 320, 320 + half, 639])
    across, down = np.meshgrid(columns.astype(np.float32), np.arange(480, dtype=np.float32))
    return cv2.remap(frame, across, down, cv2.INTER_LINEAR)


def still(frame, seconds=1.2):
    """A camera that does not move."""
    return [frame] * round(30 * seconds)


def swaying(amplitude=0.004, seconds=0.8, frames=24, **how):
    """A person who moves from side to side, by so much of the frame."""
    return [seen(x=0.5 + amplitude * np.sin(2 * np.pi * i / frames), **how) for i in range(frames)] * max(
        round(seconds / 0.8), 1
    )


HINTS = {
    "nearer": lambda: still(seen(size=0.2)),
    "farther": lambda: still(seen(size=0.88)),
    "centre": lambda: still(seen(x=0.24)),
    "more_light": lambda: still((seen() * 0.12).astype(np.uint8)),
    "less_light": lambda: still((255 - 0.13 * (255 - seen().astype(float))).astype(np.uint8)),
    "no_face": lambda: still(cv2.resize(no_face(), (640, 480))),
    "one_face": lambda: still(np.hstack([seen(size=0.36)[:, 160:480]] * 2)),
    "straight": lambda: still(turned(seen())),
    "still": lambda: swaying(amplitude=0.06, seconds=1.6),
}
"""Hint -> what the camera sees that calls for it."""


def write_video(path: Path, frames) -> Path:
    """Write frames as Motion JPEG, which Chromium's fake camera shows at 30 frames a second."""
    content: dict[int, bytes] = {}
    with path.open("wb") as file:
        for frame in frames:
            if id(frame) not in content:
                content[id(frame)] = _jpeg(frame)
            file.write(content[id(frame)])
    return path


def _jpeg(frame) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


SHOW_FRAMES = """
const canvas = Object.assign(document.createElement('canvas'), {width: 640, height: 480});
const shown = canvas.getContext('2d');
let frames = [];
window.show = async files => {
  const bytes = file => Uint8Array.from(atob(file), letter => letter.charCodeAt(0));
  frames = await Promise.all(files.map(file => createImageBitmap(new Blob([bytes(file)], {type: 'image/jpeg'}))));
};
const now = () => frames[Math.floor(performance.now() / 33) % frames.length];
setInterval(() => frames.length && shown.drawImage(now(), 0, 0), 33);
navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(30);"""
"""A camera that shows what a test gives to `show`, over and over again, for as long as the test wants to see it: a busy
machine's fake camera skips frames, and whole stretches of a video with them.
"""


def as_files(frames) -> list[str]:
    """Each different frame once, as `show` takes it: a JPEG in base64."""
    return [base64.b64encode(_jpeg(frame)).decode() for frame in {id(frame): frame for frame in frames}.values()]


@contextmanager
def playwright() -> Iterator[Any]:
    """Playwright's synchronous interface. While it is open, this thread has a running event loop: a file closes it."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    with api.sync_playwright() as started:
        yield started


@contextmanager
def chromium(started: Any, video: Path | None = None, ui: str = "--use-fake-ui-for-media-stream") -> Iterator[Any]:
    """A started browser. Skips where there is none.

    Args:
        started: what `playwright` gives.
        video: what its camera shows; None for a browser without a camera.
        ui: how the question for the camera is answered.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs chromium")
    camera = (
        []
        if video is None
        else [
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={video}",
        ]
    )
    flags = ["--no-sandbox", "--disable-gpu", f"--host-resolver-rules=MAP {NAMED} 127.0.0.1", ui, *camera]
    browser = started.chromium.launch(executable_path=program, args=flags, timeout=60_000)
    try:
        yield browser
    finally:
        browser.close()


@dataclass
class Tab:
    """A page, and what went wrong in it."""

    page: Any
    errors: list[str] = field(default_factory=list)

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """What the component told the page so far: names and details."""
        return [(name, json.loads(detail)) for name, detail in self.page.evaluate("window.told ?? []")]

    def told(self, name: str) -> list[dict[str, Any]]:
        """The details of the events of one name."""
        return [detail for event, detail in self.events() if event == name]

    def wait_for(self, script: str, seconds: float = 60) -> Any:
        """Wait until a script's value is true; the value. Asked from outside: the page's policy forbids `eval`."""
        deadline = time.monotonic() + seconds
        while not (value := self.page.evaluate(script)):
            assert time.monotonic() < deadline, f"in vain: {script}; {self.events()[-5:]}; {self.errors}"
            self.page.wait_for_timeout(40)
        return value

    def wait_for_state(self, state: str, seconds: float = 60) -> None:
        """Wait until the component is in this state."""
        self.wait_for(f"document.querySelector('face-liveness-capture').state === '{state}'", seconds)

    def violations(self) -> list[str]:
        """What axe-core finds wrong with the page as it is now, best practices included."""
        self.page.evaluate(_axe())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        return [f"{rule['id']}: {[node['html'][:120] for node in rule['nodes']]}" for rule in found]


@cache
def _axe() -> str:
    script = MODULES / "axe-core/axe.min.js"
    if not script.exists():
        pytest.skip("needs `npm ci` in clients/web")
    return f"globalThis.axe ?? (() => {{ {script.read_text()} }})(); undefined"


_TELL = """
const names = ['face-state', 'face-hint', 'face-capture', 'face-upload', 'face-error'];
for (const name of names) addEventListener(name, event => {
  const detail = {...event.detail};
  if (detail.file) { window.taken = detail.file; detail.file = {type: detail.file.type, size: detail.file.size}; }
  (window.told ??= []).push([name, JSON.stringify(detail)]);
});
"""


@contextmanager
def tab(browser: Any, address: str, *, expected: str = "", **options: Any) -> Iterator[Tab]:
    """Open a page; at the end nothing may have been logged as an error but what holds `expected`.

    Args:
        browser: a started one.
        address: of the page.
        expected: part of messages that belong to what is tested, e.g. of a refusal.
        options: of the browser's context: viewport, color_scheme, locale and the like.
    """
    context = browser.new_context(**{"viewport": {"width": 800, "height": 700}, **options})
    context.set_default_timeout(30_000)
    context.add_init_script(_TELL)
    opened = Tab(context.new_page())
    opened.page.on("console", lambda said: said.type == "error" and opened.errors.append(said.text))
    opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
    try:
        opened.page.goto(address)
        yield opened
        surprising = [text for text in opened.errors if not (expected and expected in text)]
        assert surprising == []
    finally:
        context.close()


@dataclass
class Site:
    """A customer's site that has the component, and an address that takes uploads."""

    url: str
    received: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Authorization, content type, body."""
    answers: list[int] = field(default_factory=list)
    """Statuses of the next uploads; 202 once they are used up."""
    delay_s: float = 0.0

    def at(self, attributes: str = "", language: str = "en", script: str = "") -> str:
        """The address of a page whose component has these attributes."""
        return f"{self.url}/?{urlencode({'attributes': attributes, 'language': language, 'script': script})}"


_PAGE = """<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>A shop</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'self' 'nonce-x';
  connect-src 'self'; require-trusted-types-for 'script'">
<script type="module" src="index.js"></script><script type="module" nonce="x">{script}</script></head>
<body><main><h1>A shop</h1><face-liveness-capture {attributes}></face-liveness-capture></main></body></html>"""


@contextmanager
def customer_site(built: Path) -> Iterator[Site]:
    """Serve pages with the built component."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            if address.path == "/":
                asked = {name: values[0] for name, values in parse_qs(address.query).items()}
                values = {"language": "en", "attributes": "", "script": ""} | asked
                return self._send(200, "text/html", _PAGE.format(**values).encode())
            file = built / address.path.removeprefix("/")
            kinds = {".js": "text/javascript", ".bin": "application/octet-stream"}
            if file.suffix in kinds and file.is_file():
                return self._send(200, kinds[file.suffix], file.read_bytes())
            return self._send(404, "text/plain", b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            site.received.append((self.headers.get("Authorization", ""), self.headers["Content-Type"], body))
            time.sleep(site.delay_s)
            status = site.answers.pop(0) if site.answers else 202
            self._send(status, "application/json", json.dumps({"session_id": "s1", "state": "received"}).encode())

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        site = Site(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield site
        finally:
            server.shutdown()
