"""Limits on what is in work at once, in all and for each caller: one caller cannot hold the slots of all others."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from liveness_service.errors import OverloadedError, TooManyAtOnceError


class Slots:
    """A fixed number of slots; everything in work holds one."""

    def __init__(self, limit: int, noun: str, setting: str) -> None:
        """Start with nothing in work.

        Args:
            limit: most at once.
            noun: what is counted, for messages: `requests` or `clips`.
            setting: name of the setting for `limit`, for messages.
        """
        self.taken = 0
        self._limit = limit
        self._noun = noun
        self._setting = setting

    def check(self) -> None:
        """Refuse if no slot is free.

        Raises:
            OverloadedError: no slot is free.
        """
        if self.taken >= self._limit:
            raise OverloadedError(
                f"{self.taken} {self._noun} are in work, and no more are accepted: try again, or add replicas "
                f"({self._setting} is the limit)"
            )

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a slot while the context is open.

        Raises:
            OverloadedError: no slot is free.
        """
        self.check()
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class CallerSlots:
    """Counts what each caller has in work. It keeps nothing about callers who have nothing in work."""

    def __init__(self, limit: int | None, noun: str, setting: str) -> None:
        """Start with nothing in work.

        Args:
            limit: most of one caller at once; None for no limit.
            noun: what is counted, for messages: `requests` or `clips`.
            setting: name of the setting for `limit`, for messages.
        """
        self._limit = limit
        self._noun = noun
        self._setting = setting
        self._taken: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many callers have something in work."""
        return len(self._taken)

    def check(self, caller: str) -> None:
        """Refuse a caller who has as many in work as one caller may have.

        Raises:
            TooManyAtOnceError: it is so.
        """
        if self._limit is not None and self._taken[caller] >= self._limit:
            raise TooManyAtOnceError(
                f"{self._limit} {self._noun} of {caller} are in work, and no more are accepted at once: wait for an "
                f"answer ({self._setting} is the limit)"
            )

    @contextmanager
    def take(self, caller: str) -> Iterator[None]:
        """Count one more for this caller while the context is open.

        Raises:
            TooManyAtOnceError: the caller has as many in work as one caller may have.
        """
        self.check(caller)
        self._taken[caller] += 1
        try:
            yield
        finally:
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]


class Uploads:
    """Places for uploads that are arriving, and the bytes of all uploads until their answer."""

    def __init__(self, most: int, most_of_one: int | None, most_bytes: int) -> None:
        """Start with no upload.

        Args:
            most: most uploads that arrive at once.
            most_of_one: most of them of one caller; None for half of them.
            most_bytes: most bytes of all uploads in memory; one caller may have half of them.
        """
        self._places = Slots(most, "uploads", "LIVENESS_MAX_UPLOADS")
        self._callers = CallerSlots(most_of_one or max(1, most // 2), "uploads", "LIVENESS_MAX_UPLOADS_PER_KEY")
        self._most_bytes = most_bytes
        self._bytes: Counter[str] = Counter()
        self.held_bytes = 0

    @property
    def arriving(self) -> int:
        """How many uploads are arriving."""
        return self._places.taken

    @contextmanager
    def take(self, caller: str) -> Iterator["Upload"]:
        """Hold a place until the upload has arrived, and its bytes while the context is open.

        Raises:
            TooManyAtOnceError: the caller has as many uploads as one caller may have.
            OverloadedError: no place is free.
        """
        with ExitStack() as place:
            place.enter_context(self._callers.take(caller))
            place.enter_context(self._places.take())
            upload = Upload(self, caller, place)
            try:
                yield upload
            finally:
                self._hold(caller, -upload.size)

    def check_room(self, caller: str, size: int) -> None:
        """Refuse so many bytes of a caller's upload if there is no room for them.

        Raises:
            TooManyAtOnceError: the caller's uploads would have more than half of the bytes.
            OverloadedError: all uploads together would have too many bytes.
        """
        if self._bytes[caller] + size > self._most_bytes // 2:
            raise TooManyAtOnceError(
                f"the uploads of {caller} that are not answered have {self._bytes[caller]:,} bytes, and no more than "
                f"{self._most_bytes // 2:,} of one caller are held at once: wait for an answer "
                "(LIVENESS_MAX_HELD_BYTES is twice the limit)"
            )
        if self.held_bytes + size > self._most_bytes:
            raise OverloadedError(
                f"the uploads in work have {self.held_bytes:,} bytes, and no more than {self._most_bytes:,} are held "
                "at once: try again, or add replicas (LIVENESS_MAX_HELD_BYTES is the limit)"
            )

    def _hold(self, caller: str, size: int) -> None:
        self.held_bytes += size
        self._bytes[caller] += size
        if not self._bytes[caller]:
            del self._bytes[caller]


class Upload:
    """One upload: it grows while it arrives, then it waits for its answer."""

    def __init__(self, uploads: Uploads, caller: str, place: ExitStack) -> None:
        self.size = 0
        self._uploads = uploads
        self._caller = caller
        self._place = place

    def announce(self, size: int) -> None:
        """Refuse an upload of this declared size if there is no room for it now; nothing is reserved.

        Raises:
            TooManyAtOnceError: there is none for this caller.
            OverloadedError: there is none at all.
        """
        self._uploads.check_room(self._caller, size)

    def grow(self, size: int) -> None:
        """Count so many more bytes.

        Raises:
            TooManyAtOnceError: there is no room for them of this caller.
            OverloadedError: there is no room for them at all.
        """
        self._uploads.check_room(self._caller, size)
        self._uploads._hold(self._caller, size)
        self.size += size

    def arrived(self) -> None:
        """Give the place to another upload; the bytes stay counted."""
        self._place.close()
