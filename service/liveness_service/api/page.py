"""`GET /`: a page for trying out the service. It is one file that loads nothing from other servers."""

import re
from importlib import resources

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

_PAGE = (resources.files("liveness_service") / "web" / "index.html").read_text(encoding="utf-8")
_LINK_TO_DOCS = re.compile(r'\s*<a href="docs">.*?</a>')
# The page may use only its own script and style, and send requests only to this service.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page_router(*, docs: bool) -> APIRouter:
    """The route of the demo page. The page links to `/docs` if there are `docs`."""
    router = APIRouter(include_in_schema=False)
    html = _PAGE if docs else _LINK_TO_DOCS.sub("", _PAGE)

    @router.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(html, headers={"Content-Security-Policy": _POLICY})

    return router
