"""The client's exceptions are those of the service: one class a code.

`PYTHONPATH=core:service:clients/python python tests/client/test_errors.py` writes them anew.
"""

import textwrap
from pathlib import Path

import liveness_client.problems
from liveness_client.errors import BY_CODE, ProblemError, problem_of
from liveness_service.api.problems import CODES
from liveness_service.errors import ServiceError

FILE = Path(liveness_client.problems.__file__)
HEAD = '''"""One exception for each code of the service, so that `except RateLimitedError` is possible.

Written by tests/client/test_errors.py from the service's catalogue; do not edit.
"""

from liveness_client.errors import ProblemError
'''


def name_of(code: str) -> str:
    """The service's own name of the class; for the codes of the framework one of the same kind."""
    names = {kind.code: kind.__name__ for kind in ServiceError.__subclasses__()}
    return names.get(code) or "".join(part.title() for part in code.removesuffix("_error").split("_")) + "Error"


def written() -> str:
    """The module."""
    classes = []
    for code, meaning in CODES.items():
        doc = textwrap.fill(f'"""{meaning}"""', 116).replace("\n", "\n    ")
        classes.append(f'\n\nclass {name_of(code)}(ProblemError):\n    {doc}\n\n    code = "{code}"\n')
    return HEAD + "".join(classes)


def test_they_are_written_from_the_catalogue():
    assert FILE.read_text() == written(), "run this file as its first lines say"
    assert {code: kind.__name__ for code, kind in BY_CODE.items()} == {code: name_of(code) for code in CODES}


def test_each_problem_is_of_its_class_and_an_unknown_one_of_the_base():
    told = {"code": "rate_limited", "title": "Too many", "detail": "wait 17 s", "request_id": "abc", "limit": 5}
    error = problem_of(429, told, 17.0)
    assert type(error) is BY_CODE["rate_limited"]
    assert (error.code, error.status, error.detail, error.request_id) == ("rate_limited", 429, "wait 17 s", "abc")
    assert (error.retry_after_s, error.members["limit"]) == (17.0, 5)
    assert str(error) == "429 rate_limited: wait 17 s"
    newer = problem_of(418, {"code": "teapot", "detail": "short and stout"}, None)
    assert (type(newer), newer.code, newer.request_id) == (ProblemError, "teapot", "")
    nothing = problem_of(502, {}, None)
    assert (type(nothing), nothing.code, nothing.status) == (ProblemError, "", 502)


if __name__ == "__main__":
    FILE.write_text(written())
