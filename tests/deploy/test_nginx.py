"""docker/nginx/nginx.conf, run by a real nginx with certificates made here, in front of a real service.

Only what belongs to the machine differs: the folders, the port, and the address of the service.
"""

import ipaddress
import re
import shutil
import socket
import ssl
import subprocess
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from liveness_service.settings import Settings
from support.compose import COMPOSE, SERVICES, mounts_of, published
from support.dockerfile import ROOT
from support.pictures import astronaut, encoded
from support.server import free_port, running_server
from support.tiny_bundle import make_tiny_bundle

TEXT = (ROOT / "docker" / "nginx" / "nginx.conf").read_text()
PROXY = "127.0.0.9"
"""Where nginx calls the service from, so that the service can tell it from others on this machine."""
LIMIT = 52 << 20
CONNECTIONS = 32
REQUESTS = 40
"""Of one address, in an hour; tests that need many take addresses of their own."""
URL = "/v1/liveness"
PHOTO = encoded(astronaut())


class Authority:
    """Signs certificates."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name, self.key = folder, name, ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._certificate(name, self.key, issuer=True).public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[str, str]:
        """A certificate and its key, in files."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, private = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(self._certificate(name, key).public_bytes(serialization.Encoding.PEM))
        kind = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        private.write_bytes(key.private_bytes(serialization.Encoding.PEM, *kind))
        return str(certificate), str(private)

    def _certificate(self, name: str, key: ec.EllipticCurvePrivateKey, *, issuer: bool = False) -> x509.Certificate:
        now = datetime.now(UTC)
        subject, ours = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in (name, self.name))
        loopback = [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1",)]
        builder = x509.CertificateBuilder(ours, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(issuer, None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName(loopback), critical=False)
        return builder.sign(self.key, hashes.SHA256())


class Proxy:
    """A started nginx with its service."""

    def __init__(self, port: int, server, folder: Path, good: tuple[str, str], foreign: tuple[str, str]) -> None:
        self.port, self.server, self.folder, self.good, self.foreign = port, server, folder, good, foreign

    def context(self, certificate: tuple[str, str] | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "servers.pem"))
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return context

    def client(self, *, certificate: tuple[str, str] | None = None, address: str = "127.0.0.1") -> httpx.Client:
        transport = httpx.HTTPTransport(verify=self.context(certificate or self.good), local_address=address)
        return httpx.Client(base_url=f"https://127.0.0.1:{self.port}", transport=transport, timeout=60)

    def connect(self, address: str = "127.0.0.1") -> ssl.SSLSocket:
        """A connection for what no client library would send."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60, source_address=(address, 0))
        return self.context(self.good).wrap_socket(plain, server_hostname="127.0.0.1")

    def ask(self, request: bytes, address: str = "127.0.0.1") -> bytes:
        with self.connect(address) as connection:
            connection.sendall(request)
            return connection.recv(65536)


def replaced(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert text.count(old) == 1 or old.endswith("/"), old
        text = text.replace(old, new)
    return text


@contextmanager
def running_nginx(folder: Path, service_port: int):
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("there is no nginx on this machine (apt-get install nginx-light)")
    for _ in range(5):
        port = free_port()
        changes = {
            "listen 8443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            "server liveness:8000;": f"server 127.0.0.1:{service_port};",
            "proxy_pass http://liveness;": f"proxy_bind {PROXY}; proxy_pass http://liveness;",
            " /tmp/": f" {folder}/",
            "/etc/nginx/tls/": f"{folder}/",
        }
        (folder / "nginx.conf").write_text(replaced(TEXT, changes))
        with (folder / "nginx.log").open("wb") as log:
            command = [program, "-e", "/dev/stderr", "-c", folder / "nginx.conf", "-g", "daemon off;"]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            if listens(process, port):
                yield port
                return
        finally:
            process.terminate()
            process.wait(timeout=30)
    raise AssertionError((folder / "nginx.log").read_text())


def listens(process: subprocess.Popen[bytes], port: int) -> bool:
    for _ in range(200):
        if process.poll() is not None:
            return False
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nginx")
    folder.chmod(0o755)
    make_tiny_bundle(folder / "bundle", bias=5)
    clients = Authority(folder, "clients")
    good, foreign = clients.issue("backend"), Authority(folder, "others").issue("stranger")
    Authority(folder, "servers").issue("server")
    settings = {"bundle_path": str(folder / "bundle"), "max_inflight": "100", "rate_limit": f"{REQUESTS}/hour"}
    settings["workers"] = "0"
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("FORWARDED_ALLOW_IPS", PROXY)
        server = stack.enter_context(running_server(folder, **settings))
        port = stack.enter_context(running_nginx(folder, int(server.url.rsplit(":", 1)[1])))
        yield Proxy(port, server, folder, good, foreign)


def test_a_verdict_comes_over_tls(proxy):
    with proxy.client() as client:
        answer = client.post(URL, content=PHOTO)
        assert (answer.status_code, answer.json()["verdict"]) == (200, "live")
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert client.get("/health/ready").status_code == 200
    assert "nginx/" not in str(answer.headers)  # no version


def test_without_a_certificate_nobody_reaches_the_service(proxy):
    before = len(proxy.server.log())
    context = proxy.context(None)
    with httpx.Client(verify=context, timeout=60) as client:
        refused = client.post(f"https://127.0.0.1:{proxy.port}{URL}", content=PHOTO)
    with proxy.client(certificate=proxy.foreign) as client:
        foreign = client.post(URL, content=PHOTO)
    for answer in (refused, foreign):
        assert answer.status_code == 400
        assert "SSL certificate" in answer.text
    assert len(proxy.server.log()) == before


def test_plain_http_and_old_tls_are_refused(proxy):
    plain = httpx.get(f"http://127.0.0.1:{proxy.port}/health/ready", timeout=60)
    assert plain.status_code == 400
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{proxy.port}", "-tls1_1"],
        input=b"",
        capture_output=True,
        timeout=60,
    )
    assert b"Cipher is (NONE)" in done.stdout or done.returncode != 0


def headers(length: int) -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (URL.encode(), length)


def test_a_body_that_is_too_long_by_its_header_is_refused_before_it_is_sent(proxy):
    answer = proxy.ask(headers(LIMIT + 1))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"problem+json" not in answer  # nginx's own
    answer = proxy.ask(headers(LIMIT))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"problem+json" in answer  # the service's: it knows the kind of upload


def test_no_limit_of_the_service_is_above_that_of_the_proxy():
    """So that what the service would take reaches it, with a form around it."""
    settings = Settings()
    assert max(settings.max_upload_bytes, settings.max_clip_bytes) + (1 << 20) <= LIMIT
    assert re.findall(r"client_max_body_size (\w+);", TEXT) == [f"{LIMIT >> 20}m"]
    (read_timeout,) = re.findall(r"proxy_read_timeout (\d+)s;", TEXT)
    assert int(read_timeout) * 1000 > settings.clip_deadline_ms
    (idle,) = re.findall(r"    keepalive_timeout (\d+)s;", TEXT)
    assert int(idle) * 1000 < settings.keep_alive_ms


@pytest.mark.parametrize(("bytes_of_a_line", "status"), [(8 * 1024, b"200"), (8 * 1024 + 1, b"400")])
def test_the_length_of_a_header_is_bounded(proxy, bytes_of_a_line, status):
    """A line with the two bytes that end it must fit into one buffer."""
    line = b"X-Long: ".ljust(bytes_of_a_line - 2, b"a") + b"\r\n"
    answer = proxy.ask(b"GET /health/ready HTTP/1.1\r\nHost: x\r\n" + line + b"Connection: close\r\n\r\n")
    assert answer.split()[1] == status


def test_the_number_of_long_headers_is_bounded(proxy):
    lines = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 4000) for number in range(12))
    answer = proxy.ask(b"GET /health/ready HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
    assert answer.split()[1] == b"400"


def test_one_address_has_so_many_requests_in_work_and_no_more(proxy):
    def status(address):
        return proxy.ask(b"GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", address).split()[1]

    for address, count, expected in (("127.0.0.6", CONNECTIONS, b"429"), ("127.0.0.7", CONNECTIONS - 1, b"200")):
        with ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(proxy.connect(address)).sendall(headers(10))  # whose body does not come
            time.sleep(0.5)
            assert status(address) == expected
            assert status("127.0.0.8") == b"200"
        eventually(lambda address=address: status(address) == b"200")


def eventually(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def limited_after(ask, at_most=REQUESTS + 5):
    """How many requests are answered before the rate limit says no."""
    statuses = [ask(number).status_code for number in range(at_most)]
    return statuses.index(429) if 429 in statuses else None


def test_an_address_that_a_client_claims_is_not_believed(proxy):
    """Each address may ask so many times: whoever could choose its address had no limit."""

    def claim(number):
        return {"X-Forwarded-For": f"203.0.113.{number}", "X-Real-IP": "203.0.113.1", "Forwarded": "for=203.0.113.1"}

    with proxy.client(address="127.0.0.3") as client:
        assert limited_after(lambda number: client.get("/v1/models", headers=claim(number))) == REQUESTS
    with proxy.client(address="127.0.0.4") as client:  # told apart from the one before, through the same proxy
        assert client.get("/v1/models").status_code == 200
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.5"), base_url=proxy.server.url) as direct:
        assert limited_after(lambda number: direct.get("/v1/models", headers=claim(number))) == REQUESTS


@pytest.mark.parametrize(
    "path", ["/metrics", "/v1/operations/models", "/v1/operations/../operations/models", "//metrics"]
)
def test_what_is_for_operators_is_not_reached_from_outside(proxy, path):
    answer = proxy.ask(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode())
    assert answer.split()[1] == b"404"
    with proxy.server.client() as direct:
        assert direct.get("/metrics").status_code == 200


def test_a_service_that_is_gone_is_a_502_at_once(tmp_path, proxy):
    for file in proxy.folder.glob("*.[pk]e[my]"):
        shutil.copy(file, tmp_path)
    tmp_path.chmod(0o755)
    with running_nginx(tmp_path, free_port()) as port:
        gone = Proxy(port, None, proxy.folder, proxy.good, proxy.foreign)
        with gone.client() as client:
            assert client.post(URL, content=PHOTO).status_code == 502


@pytest.mark.slow
def test_a_header_that_does_not_end_is_given_up(proxy):
    with proxy.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        begun = time.monotonic()
        assert connection.recv(1000) == b""
    assert 8 < time.monotonic() - begun < 25


def test_nothing_of_an_upload_is_left_in_a_file(proxy):
    with proxy.client() as client:
        client.post(URL, content=PHOTO + bytes(2 << 20))
    kept = [path for name in ("body", "proxy") for path in (proxy.folder / name).rglob("*") if path.is_file()]
    assert kept == []
    assert "proxy_request_buffering off;" in TEXT


def test_compose_runs_this_file_and_the_service_believes_this_proxy_alone():
    proxy = SERVICES["proxy"]
    assert mounts_of(proxy)["/etc/nginx/nginx.conf"] == ("./docker/nginx/nginx.conf", False)
    assert mounts_of(proxy)["/etc/nginx/tls"][1] is False
    ((_, _, inside),) = published(proxy)
    assert f"listen {inside} ssl;" in TEXT
    address = proxy["networks"]["proxy"]["ipv4_address"]
    (subnet,) = (each["subnet"] for each in COMPOSE["networks"]["proxy"]["ipam"]["config"])
    assert ipaddress.ip_address(address) in list(ipaddress.ip_network(subnet).hosts())
    for name in ("liveness", "liveness-gpu"):
        assert SERVICES[name]["environment"]["FORWARDED_ALLOW_IPS"] == address
        assert SERVICES[name]["networks"]["proxy"]["aliases"] == ["liveness"]
    assert "server liveness:8000;" in TEXT
    grace = int(proxy["stop_grace_period"].removesuffix("s"))
    assert grace * 1000 > Settings().clip_deadline_ms
