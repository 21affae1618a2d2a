"""Sockets that speak HTTP badly, and what a service holds meanwhile."""

import re
import socket
import time
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def connected(server, source="127.0.0.1", receive_buffer=None):
    port = int(server.url.rsplit(":", 1)[1])
    with socket.socket() as line:
        if receive_buffer:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        line.bind((source, 0))
        line.settimeout(60)
        line.connect(("127.0.0.1", port))
        yield line


def request(path="/health/live", method="GET", body=b"", **fields):
    if body:
        fields = {"Content-Length": len(body), **fields}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def head_of(size):
    """A request whose target and fields have this many bytes, as the limit counts them."""
    fixed = len("/health/live") + len("Host") + len("x") + 4 + len("X-Long") + 4
    return request(Host="x", X_Long="a" * (size - fixed))


def read_all(line):
    """Everything until the server closes."""
    received = b""
    try:
        while piece := line.recv(1 << 16):
            received += piece
    except ConnectionResetError:
        pass
    return received


def read_one(line):
    """One answer: status, fields, body."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = line.recv(1 << 16)
        assert piece, f"closed after {received!r}"
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    fields = dict(field.lower().split(": ", 1) for field in head.decode().split("\r\n")[1:])
    while len(body) < int(fields["content-length"]):
        body += line.recv(1 << 16)
    return int(head.split()[1]), fields, body


def send_without_end(line, piece, most):
    """Send until the other side has enough of it; how many bytes it took."""
    sent = 0
    try:
        while sent < most:
            sent += line.send(piece)
    except (ConnectionError, TimeoutError):
        pass
    return sent


def memory_mb(server):
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


def metric(server, name):
    with server.client() as client:
        found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def eventually(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
