"""Errors of bundles."""


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
