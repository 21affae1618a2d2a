"""What can go wrong. `problems` has a class for each code of the service; all have the base `LivenessError`."""

from collections.abc import Mapping
from typing import Any

BY_CODE: dict[str, type["ProblemError"]] = {}
"""The class of each code that this version knows; `problems` fills it."""


class LivenessError(Exception):
    """Base of all errors of this package."""


class ConnectionFailedError(LivenessError):
    """The service could not be reached, or did not answer in time."""

    def __init__(self, message: str, *, before_sending: bool) -> None:
        """Make the error; `before_sending` says that nothing of the request was sent."""
        super().__init__(message)
        self.before_sending = before_sending


class UnexpectedAnswerError(LivenessError):
    """What answered is not the service: check the URL, and what is between."""


class ProblemError(LivenessError):
    """The service refused. A code of a newer service, or an answer of a proxy, is of this class itself."""

    code: str = ""
    """The service's name of the problem; empty where something else answered."""

    def __init__(self, status: int, members: Mapping[str, Any], retry_after_s: float | None) -> None:
        """Make the error.

        Args:
            status: HTTP status.
            members: the members of the problem's JSON object.
            retry_after_s: seconds after which to try again; None if the service does not say so.
        """
        self.code = str(members.get("code", ""))
        self.status = status
        self.members = members
        self.retry_after_s = retry_after_s
        self.title = str(members.get("title", ""))
        self.detail = str(members.get("detail", ""))
        """What happened and what to check."""
        self.request_id = str(members.get("request_id", ""))
        """Also in the service's log."""
        super().__init__(f"{status} {self.code}: {self.detail}".strip(": "))

    def __init_subclass__(cls) -> None:
        """Note the class of a code."""
        BY_CODE[cls.code] = cls


def problem_of(status: int, members: Mapping[str, Any], retry_after_s: float | None) -> ProblemError:
    """The error for a refusal."""
    return BY_CODE.get(str(members.get("code", "")), ProblemError)(status, members, retry_after_s)
