"""Says which extra of the package brings a module that is not installed, instead of its bare name."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OF_SERVICE = ("onnxruntime",)
"""Modules that only `service` and `gpu` bring, whoever needs them."""


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """End the program with status 2 and a message that names the extra, where a module of another package is missing.

    Args:
        extra: the extra that brings what is used within the context.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if not module or module.startswith("liveness_"):
            raise
        named = "service" if module in _OF_SERVICE else extra
        sys.stderr.write(f"the package with {module} is not installed: pip install 'face-liveness[{named}]'\n")
        raise SystemExit(2) from error
