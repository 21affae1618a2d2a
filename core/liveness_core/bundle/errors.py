"""The one error of a bundle that must not score."""


class BundleError(Exception):
    """A bundle is unusable. No score is given by it.

    `file` is the file at fault (a name inside the bundle, or the bundle's path), `reason` what is wrong with it and
    what to check.
    """

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason
