"""Routes for uploads: FastAPI describes them, but most requests skip its solving of dependencies.

That took a quarter of the time that the event loop spends on an upload beside its scoring, also of one that is refused.
"""

from collections.abc import Callable, Coroutine
from typing import Any, get_type_hints

from fastapi import Request, Response

from liveness_service.api.access import GuardedRoute, service_of


class UploadRoute(GuardedRoute):
    """A route whose function takes `request`, `query`, a model whose fields all have defaults, and `service`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler; for a request without a query string, the function itself after the access checks."""
        handle = super().get_route_handler()
        defaults = get_type_hints(self.endpoint)["query"]()
        required = self.required

        async def direct(request: Request) -> Response:
            if request.scope["query_string"]:
                return await handle(request)
            for requirement in required:
                await requirement.check(request)
            answer: Response = await self.endpoint(request=request, query=defaults, service=service_of(request))
            return answer

        return direct
