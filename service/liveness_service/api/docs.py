"""`GET /docs`: Swagger UI, served from local files, so that it works without the internet."""

import re
from base64 import b64encode
from hashlib import sha256
from importlib import resources
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

from liveness_service.api.document import completed

_ASSETS = "/docs/assets"
_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def install_docs(app: FastAPI, root_path: str) -> None:
    """Add the page, its assets and the OpenAPI document to the app.

    Args:
        app: the app whose routes are described.
        root_path: prefix that a reverse proxy removes from the path.
    """
    # FastAPI writes the links into the page and its script as they are.
    prefix = quote(root_path, safe="/%")
    # The package `fastapi-offline` is used only for the copy of Swagger UI that it contains.
    with resources.as_file(resources.files("fastapi_offline") / "static") as folder:
        app.mount(_ASSETS, _Assets(directory=folder), name="docs-assets")

    html, policy = _page(app, prefix)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = completed(generate())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


class _Assets(StaticFiles):
    """The files of Swagger UI. Browsers may keep them, but ask each time whether they have changed."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        """Starlette's response, with the header for caches."""
        response = super().file_response(*args, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _page(app: FastAPI, prefix: str) -> tuple[bytes, str]:
    """The page and its policy: it may run its own script, named by a hash, and ask this service, nothing else."""
    page = get_swagger_ui_html(
        openapi_url=f"{prefix}{app.openapi_url}",
        title=app.title,
        swagger_js_url=f"{prefix}{_ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{prefix}{_ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{prefix}{_ASSETS}/favicon.png",
    )
    html = bytes(page.body)
    scripts = _INLINE_SCRIPT.findall(html)
    hashes = " ".join(f"'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy
