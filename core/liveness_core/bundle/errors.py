"""Errors of bundles."""

SIGNATURE_FILE = "model.sig"
"""Name of a bundle's signature; the manifest does not list it."""


class BundleError(Exception):
    """A bundle cannot be used, and nothing is scored with it.

    `file` is the file at fault (a name inside the bundle, or the bundle's path); `reason` says what is wrong with it
    and what to check.
    """

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


class BundleFolderError(BundleError):
    """There is no folder at the bundle's path. Whoever chose the path knows which setting to check."""


class SignatureError(BundleError):
    """Only signed bundles are accepted, and this one is not signed, or not by a trusted key."""
