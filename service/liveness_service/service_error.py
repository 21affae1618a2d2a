"""The base of what the API answers with a status, a code and a message."""

from typing import ClassVar


class ServiceError(Exception):
    """Base of all errors that the API answers with their own status, code and message."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    retry_after_s: int | None = None

    def __init__(self, detail: str, **members: str | float) -> None:
        """Make the error.

        Args:
            detail: what happened and what to check; the client reads it.
            members: further members of the problem's JSON object, added unchanged.
        """
        super().__init__(detail)
        self.detail = detail
        self.members = members

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers to send with the answer."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
