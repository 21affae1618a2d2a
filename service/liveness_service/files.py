"""Files of this machine through the service's own pipeline, without a server: which files are meant, and their results.

`liveness score` and `liveness calibrate` share it, so that what they say of a file is what the service would answer.
"""

import asyncio
import glob
import os
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from liveness_service.decoding.kinds import clip_kind, image_kind
from liveness_service.errors import InvalidParameterError, ServiceError
from liveness_service.observability.metrics import Metrics
from liveness_service.results import Result
from liveness_service.service import LivenessService
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint, FacePolicy, ScoreOptions, Submission

STANDARD_INPUT = "-"
"""Name that stands for standard input."""
_HEAD_BYTES = 1 << 16
"""What is read of a file before it is known to be a picture or a clip, so that a disk image in a folder is not."""
_OF_THE_SYSTEM = {"thumbs.db", "desktop.ini"}
"""What Windows puts into folders of pictures. Names that begin with a dot are left out as well."""


class NoFilesError(OSError):
    """A folder or pattern that stands for no file; the message says why."""


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file: a result, or why there is none."""

    name: str
    """The file's path as it was found; `-` for standard input."""
    endpoint: Endpoint
    """Whether it was taken for a photo or a clip, by its content."""
    result: Result | None = None
    error: ServiceError | OSError | None = None
    """Why it could not be scored; None where `result` is there."""

    @property
    def reason(self) -> str:
        """Why it could not be scored, in words; empty where it was."""
        if isinstance(self.error, OSError):
            return self.error.strerror or str(self.error)
        return "" if self.error is None else str(self.error)

    @property
    def code(self) -> str:
        """The API's code of the problem; `unreadable_file` where the file could not be read, empty if it was scored."""
        if isinstance(self.error, OSError):
            return "unreadable_file"
        return "" if self.error is None else self.error.code


def find_files(given: str, *, recursive: bool = False, leave_out: Collection[Path] = ()) -> list[str]:
    """The files that an argument stands for, in the order of their names.

    Args:
        given: a file, which need not exist; a folder; a pattern such as `*.jpg` or `people/**/*.png`, for shells that
            leave patterns as they are; or `-` for standard input.
        recursive: also the folders inside a folder. Links to folders are not followed.
        leave_out: files that a folder or pattern does not stand for.

    Raises:
        NoFilesError: a folder or pattern stands for no file.
    """
    path = Path(given)
    if given == STANDARD_INPUT:
        return [given]
    if path.is_dir():
        found = list(_in_folder(path, recursive=recursive))
        hint = "" if recursive else "; --recursive also looks into the folders inside it"
        missing = f"the folder holds no files{hint}"
    elif glob.has_magic(given) and not path.exists():
        matches = (Path(name) for name in glob.iglob(given, recursive=True))  # noqa: PTH207 (absolute patterns)
        found = [match for match in matches if match.is_file()]
        missing = "no file matches this pattern"
    else:
        return [given]
    left_out = {path.resolve() for path in leave_out}
    names = sorted(str(path) for path in found if not left_out or path.resolve() not in left_out)
    if not names:
        raise NoFilesError(missing)
    return names


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[LivenessService]:
    """The service, started, for as long as the context is open.

    Raises:
        ModelUnavailableError: its model cannot be used; the error names the file at fault and the reason.
    """
    service = LivenessService(settings, Metrics())
    await service.start()
    try:
        if service.fault is not None:
            raise service.fault
        yield service
    finally:
        await service.close()


async def score_files(
    service: LivenessService, names: Iterable[str], options: ScoreOptions, *, at_once: int = 1
) -> AsyncGenerator[FileResult, None]:
    """Score files, and give their results in the order of the files. One that cannot be scored does not end it.

    Args:
        service: a started service.
        names: files as `find_files` gives them.
        options: how they are judged.
        at_once: how many files are in work at the same time, 1 or more.
    """
    waiting: deque[asyncio.Task[FileResult]] = deque()
    try:
        for name in names:
            waiting.append(asyncio.create_task(score_file(service, name, options)))
            if len(waiting) >= at_once:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def score_file(service: LivenessService, name: str, options: ScoreOptions) -> FileResult:
    """Score one file. What is wrong with the file, or with the options for it, is in the result."""
    endpoint = Endpoint.PHOTO
    try:
        content = await asyncio.to_thread(read_media, name)
        if clip_kind(content) is not None:
            endpoint = Endpoint.CLIP
            if options.faces is FacePolicy.ALL:
                raise InvalidParameterError("faces: a clip shows one person, so use single or largest")
        return FileResult(name, endpoint, await service.score(Submission(endpoint, content, options)))
    except (ServiceError, OSError) as error:
        return FileResult(name, endpoint, error=error)


def read_media(name: str) -> bytes:
    """The content of a file, or of standard input for `-`; of one that is neither photo nor clip only the beginning.

    Raises:
        OSError: it cannot be read.
    """
    if name == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    with Path(name).open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if image_kind(head) is None and clip_kind(head) is None:
            return head
        return head + file.read()


def at_once(settings: Settings, files: Sequence[object]) -> int:
    """How many files to have in work at the same time: as many as can be prepared, and one that waits for them."""
    return max(1, min(len(files), settings.preparation_threads + 1))


def _in_folder(folder: Path, *, recursive: bool) -> Iterable[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            is_file = path.is_file() or (path.is_symlink() and not path.exists())  # neither pipes nor devices
            if is_file and not name.startswith(".") and name.lower() not in _OF_THE_SYSTEM:
                yield path
