"""`GET /`: a page for trying out the service. It is one file that loads nothing from other servers."""

from importlib import resources

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_PAGE = (resources.files("liveness_service") / "web" / "index.html").read_text(encoding="utf-8")
# The page may use only its own script and style, and send requests only to this service.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/")
async def page() -> HTMLResponse:
    """The demo page."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})
