"""The JavaScript client in Node, against a real service and a server that misbehaves."""

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.browser import WEB, needs_node, node
from support.pictures import astronaut, encoded, no_face
from support.requests import make_keys
from support.server import running_server
from support.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    needs_node()
    folder = tmp_path_factory.mktemp("built")
    node("build.mjs", "dist", folder)
    return folder


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A service with keys, and a key."""
    folder = tmp_path_factory.mktemp("service")
    make_tiny_bundle(folder / "tiny", bias=5)
    keys, setting = make_keys(backend="score")
    with running_server(folder, bundle_path=str(folder / "tiny"), workers="0", api_keys=setting) as started:
        yield started, keys["backend"]


def run(built, folder, script):
    """Run a script that prints JSON; `Client`, `tell` and `failure` are at hand."""
    (folder / "script.mjs").write_text(
        f"""import {{ readFileSync }} from 'node:fs';
import {{ LivenessClient as Client, LivenessError }} from '{built}/client.js';
const failure = async promise => {{
  try {{
    return await promise;
  }} catch (error) {{
    if (!(error instanceof LivenessError)) return String(error);
    const {{ code, status, retryAfterS, requestId }} = error;
    return {{ code, status, wait: retryAfterS ?? null, id: Boolean(requestId) }};
  }}
}};
const tell = value => console.log(JSON.stringify(value));
{script}"""
    )
    return json.loads(node(folder / "script.mjs"))


def test_it_scores_for_real_and_raises_one_error_with_the_services_code(built, guarded, tmp_path):
    server, key = guarded
    (tmp_path / "photo.jpg").write_bytes(encoded(astronaut()))
    (tmp_path / "cup.jpg").write_bytes(encoded(no_face()))
    photo, cup, reasons, points, refused, stranger, clips, session = run(
        built,
        tmp_path,
        f"""
const service = new Client('{server.url}', {{ key: '{key}' }});
const photo = readFileSync('{tmp_path}/photo.jpg');
const session = async () => {{
  const opened = await service.createSession({{ kind: 'photo' }});
  const browser = new Client('{server.url}');
  const [first, second] = [await browser.upload(opened, photo), await failure(browser.upload(opened, photo))];
  return [first, second, await service.session(opened.session_id)];
}};
tell([
  await service.scorePhoto(photo, {{ faces: 'largest' }}),
  await service.scorePhoto(new Blob([readFileSync('{tmp_path}/cup.jpg')], {{ type: 'image/jpeg' }})),
  (await service.reasons()).map(row => row.reason),
  Object.keys((await service.models())[0].operating_points),
  await failure(service.scorePhoto(new Uint8Array([1, 2, 3]))),
  await failure(new Client('{server.url}/').scorePhoto(photo)),
  await failure(service.scoreClip(photo)),
  await session(),
]);""",
    )
    sent, again, read = session
    assert sent["state"] == "scored"
    assert (again["code"], again["status"]) == ("session_used", 409)
    assert read["result"]["verdict"] == "live"
    assert (photo["verdict"], cup["verdict"], cup["reasons"]) == ("live", "undetermined", ["no_face"])
    assert "too_dark" in reasons
    assert set(points) == {"eer", "strict"}
    assert refused == {"code": "unsupported_media", "status": 415, "wait": None, "id": True}
    assert stranger == {"code": "unauthorized", "status": 401, "wait": None, "id": True}
    assert clips["status"] in (415, 501)


class Moody:
    """Answers each path as told: status and headers, in turn; the last one stays."""

    def __init__(self) -> None:
        self.plans: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self.asked: list[str] = []
        moody = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                moody.asked.append(self.path)
                plan = moody.plans[self.path]
                status, headers = plan.pop(0) if len(plan) > 1 else plan[0]
                if status == 0:  # no answer at all
                    self.connection.close()
                    return
                body = json.dumps({"code": "overloaded", "detail": "busy"} if status >= 400 else {"verdict": "live"})
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

            def handle(self) -> None:
                with contextlib.suppress(OSError, ValueError):  # of the connections that it closed itself
                    super().handle()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def moody() -> Iterator[Moody]:
    server = Moody()
    threading.Thread(target=server.server.serve_forever, daemon=True).start()
    yield server
    server.server.shutdown()
    server.server.server_close()


def test_it_waits_as_long_as_the_service_asks_and_tries_again_only_where_that_is_safe(built, tmp_path, moody):
    busy = (503, {"Retry-After": "0.2"})
    moody.plans = {
        "/v1/liveness": [busy, busy, (200, {})],
        "/v1/liveness/video": [(503, {"Retry-After": "3600"})],
        "/v1/models": [(0, {}), (500, {})],
        "/v1/sessions": [(0, {})],
        "/v1/sessions/a%2Fb": [(0, {})],
    }
    *results, took = run(
        built,
        tmp_path,
        f"""
const service = new Client('{moody.url}');
const began = performance.now();
const scored = await service.scorePhoto(new Uint8Array([1]));
const took = performance.now() - began;
tell([
  scored.verdict, await failure(service.scoreClip(new Uint8Array([1]))), await failure(service.models()),
  await failure(service.createSession({{ kind: 'photo' }})), await failure(service.session('a/b')), took,
]);""",
    )
    verdict, late, models, session, read = results
    assert verdict == "live"
    assert took >= 400
    assert late == {"code": "overloaded", "status": 503, "wait": 3600, "id": False}
    assert models["status"] == 500
    assert session["code"] == read["code"] == "network"
    assert moody.asked.count("/v1/liveness") == 3
    assert moody.asked.count("/v1/liveness/video") == 1
    assert moody.asked.count("/v1/models") == 2  # the lost one again, the fault not
    assert moody.asked.count("/v1/sessions") == moody.asked.count("/v1/sessions/a%2Fb") == 1  # either may have counted


def test_an_answer_that_does_not_come_is_a_timeout(built, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = run(
            built,
            tmp_path,
            f"tell(await failure(new Client('{address}', {{ timeoutMs: 300 }}).reasons())); process.exit(0);",
        )
    assert result == {"code": "timeout", "status": 0, "wait": None, "id": False}


def test_the_example_of_the_readme(built, guarded, tmp_path, monkeypatch):
    server, key = guarded
    monkeypatch.setenv("LIVENESS_CLIENT_KEY", key)
    [example] = re.findall(r"```js\n(import \{ LivenessClient.*?)```", (WEB / "README.md").read_text(), re.DOTALL)
    (tmp_path / "photo.jpg").write_bytes(encoded(astronaut()))
    code = example.replace("http://127.0.0.1:8000", server.url).replace("'photo.jpg'", f"'{tmp_path}/photo.jpg'")
    code = code.replace("@face-liveness/capture/client", f"{built}/client.js")
    code = code.replace("\n} catch", "\n  console.log(verdict, reasons.length);\n} catch")
    (tmp_path / "example.mjs").write_text("import { readFile } from 'node:fs/promises';\n" + code)
    assert node(tmp_path / "example.mjs") == "live 0\n"
