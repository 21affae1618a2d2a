"""`GET /`: a page for trying out the service. It and its files are of this package; nothing comes from other servers.

Its source is `clients/web`; `make web` makes the files in `web/` of it.
"""

import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from importlib import resources
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

_FOLDER = resources.files("liveness_service") / "web"
_TYPES: Final = {
    ".bin": "application/octet-stream",
    ".css": "text/css; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
}
_LINK_TO_DOCS = re.compile(r'\s*<a href="docs">.*?</a>')
# The page may use only its own script and style, and send requests only to this service. No text becomes a script.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def page_router(*, docs: bool, keys: bool) -> APIRouter:
    """The routes of the page and its files.

    Args:
        docs: whether there is `/docs`, to which the page links.
        keys: whether the service asks for keys; the page then asks for one too, before it is refused.
    """
    router = APIRouter(include_in_schema=False)
    html = (_FOLDER / "index.html").read_text(encoding="utf-8")
    html = html if docs else _LINK_TO_DOCS.sub("", html)
    html = html.replace('data-keys="no"', 'data-keys="yes"') if keys else html

    @router.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(html, headers=_HEADERS)

    for file in _FOLDER.iterdir():
        if (suffix := file.name[file.name.rfind(".") :]) in _TYPES:
            router.add_api_route(f"/page/{file.name}", _sender(file.read_bytes(), _TYPES[suffix]), methods=["GET"])
    return router


def _sender(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    """The handler of a file. Browsers may keep it, but ask each time whether it has changed."""
    tag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Cross-Origin-Resource-Policy": "same-origin"}

    async def send(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return send
