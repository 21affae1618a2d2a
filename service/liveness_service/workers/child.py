"""What a worker does: it prepares one upload after the other until the service closes the connection.

It is forked from a process that has all of this imported and no detector yet: a network's threads would not survive.
"""

import mmap
import os
import socket
import traceback
from collections import OrderedDict
from itertools import chain

import numpy as np

from liveness_core.detection import DetectorSpec, FaceDetector, create_detector, warm_up
from liveness_core.runtime import NetworkError, RuntimeOptions
from liveness_core.types import FaceCrops
from liveness_service.decoding.promise import NotNowError, told_to
from liveness_service.errors import DecoderFailedError, OverloadedError, ScoringFailedError, ServiceError
from liveness_service.observability.remote import noting
from liveness_service.scoring.clip_preparation import ClipPreparation
from liveness_service.scoring.finder import Finder
from liveness_service.scoring.preparation import PhotoPreparation
from liveness_service.scoring.prepared import ClipFacts, PhotoFacts, Prepared
from liveness_service.submission import Endpoint
from liveness_service.workers.limits import OwnMemory, bound_processor_time, let_the_service_go_first
from liveness_service.workers.messages import (
    MAX_DOCUMENT_BYTES,
    MAX_MESSAGE_BYTES,
    MEMORY_OF_ANY_JOB,
    Document,
    Done,
    Failure,
    Task,
)

_MOST_DETECTORS = 3
"""Detectors that are kept: that of the active bundle, and of a canary and a previous one."""
_LARGE_BYTES = 32 << 20
"""An upload whose header promises more is followed by giving memory back: clips left up to 55 MB in holes of the heap.
After ordinary photos and small clips it stays: to take it from the system anew would cost a tenth of a photo's time and
a fiftieth of a clip's."""


def work(connection: socket.socket, memory: OwnMemory) -> None:
    """Do tasks until the service closes the connection."""
    detectors, room = _Detectors(), _Room()
    last, task, is_ready = b"", None, False
    while True:
        message, descriptors, _flags, _address = socket.recv_fds(connection, MAX_MESSAGE_BYTES, 2)
        if not message:
            return
        room_fd, *upload_fd = descriptors
        content = b"".join(_content(fd) for fd in upload_fd)
        if task is None or message != last:  # most tasks are like the one before
            last, task = message, Task.model_validate_json(message)
        bound_processor_time(task.cpu_s)
        bound = _Bound(task, memory)
        with told_to(bound):
            document_bytes = _answer(task, content, room.mapped(room_fd, task.room), detectors)
        memory.bound(None)
        os.close(room_fd)
        if task.endpoint is None and not is_ready:
            # Not before: on a machine that is busy with other work, a nicer worker is not ready in time.
            is_ready = True
            let_the_service_go_first()
        connection.send(Done(document_bytes=document_bytes).model_dump_json().encode())
        del content
        if bound.is_large:
            memory.give_back()


class _Bound:
    """Bounds this process's memory to what an upload may take: first to what any may, then to what its header promises.

    A clip's frames may be decoded before its header is known, so what it may promise at most is allowed from the start.
    """

    def __init__(self, task: Task, memory: OwnMemory) -> None:
        self._task = task
        self._memory = memory
        self._before = None if task.endpoint is None else memory.allocated_bytes()
        # Where a clip's header cannot be read, nobody knows.
        self._most_promised = task.memory_bytes if task.endpoint is Endpoint.CLIP else 0
        self._is_told = False
        self._allow(self._most_promised)

    @property
    def is_large(self) -> bool:
        """Whether the upload may have taken much memory."""
        return self._most_promised > _LARGE_BYTES

    def __call__(self, promised: int) -> None:
        """See `decoding.promise`."""
        if self._task.endpoint is Endpoint.PHOTO and promised > self._task.memory_bytes:
            raise NotNowError(promised)
        self._most_promised = max(self._most_promised, promised) if self._is_told else promised
        self._is_told = True
        self._allow(min(promised, self._task.memory_bytes))

    def _allow(self, promised: int) -> None:
        if self._before is not None:
            self._memory.bound(self._before + MEMORY_OF_ANY_JOB + promised)


class _Room:
    """Memory for answers. It stays mapped while the service sends the same, since new pages are dear."""

    def __init__(self) -> None:
        self._mapped: mmap.mmap | None = None
        self._which = (0, 0, 0)

    def mapped(self, fd: int, size: int) -> mmap.mmap:
        """So many bytes of the memory with this file descriptor, which may be closed afterwards."""
        status = os.fstat(fd)
        which = (status.st_dev, status.st_ino, size)  # while it is mapped, no other memory can get its number
        if self._mapped is None or which != self._which:
            if self._mapped is not None:
                self._mapped.close()
            self._mapped, self._which = mmap.mmap(fd, size), which
        return self._mapped


class _Detectors:
    """Makes detectors and keeps those that were used last."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[DetectorSpec, str | None], FaceDetector] = OrderedDict()

    def get(self, spec: DetectorSpec, model: str | None) -> FaceDetector:
        key = (spec, model)
        if key not in self._made:
            # The processor in any case: a worker has no right to a GPU's device files. One thread for each worker.
            self._made[key] = create_detector(spec, model=model, runtime=RuntimeOptions("cpu", 1))
            warm_up(self._made[key])
            if len(self._made) > _MOST_DETECTORS:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        return self._made[key]


def _content(fd: int) -> bytes:
    """The upload; its memory is given back at once."""
    try:
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _answer(task: Task, content: bytes, room: mmap.mmap, detectors: _Detectors) -> int:
    """Do a task and write the answer; the number of bytes of its document."""
    document, crops = _document(task, content, detectors)
    text = document.model_dump_json(exclude_defaults=True).encode()
    if len(text) > MAX_DOCUMENT_BYTES:
        text = Document(fault=f"the answer has {len(text)} bytes").model_dump_json().encode()
    start = 0
    for crop in chain.from_iterable(crops):
        room[start : start + crop.nbytes] = np.ascontiguousarray(crop).reshape(-1).data
        start += crop.nbytes
    start = task.crops_room
    room[start : start + len(text)] = text
    return len(text)


def _document(task: Task, content: bytes, detectors: _Detectors) -> tuple[Document, tuple[FaceCrops, ...]]:
    with noting(traced=task.traced) as noted:
        try:
            finder = Finder(
                detectors.get(task.spec.detector, task.spec.detector_model), task.spec.gates, task.spec.views
            )
            if task.endpoint is None:
                PhotoPreparation(finder, task.spec.image_limits, task.spec.max_faces).rehearse()
                return Document(), ()
            prepared = _prepared(task, content, finder)
        except NotNowError as error:
            return Document(wants=error.memory_bytes, times=noted.stages()), ()
        except ServiceError as error:
            return Document(failure=_failure(error), times=noted.stages()), ()
        except MemoryError:
            return Document(failure=_failure(_lack_of_memory()), times=noted.stages()), ()
        except NetworkError:
            failed = ScoringFailedError(
                "the face detector failed on this upload, so there is no verdict: try again, and see the service's log"
            )
            return Document(failure=_failure(failed), fault=_traceback(), times=noted.stages()), ()
        except Exception:  # noqa: BLE001 (the service logs it and answers 500; the worker goes on)
            return Document(fault=_traceback(), times=noted.stages()), ()
    facts = prepared.facts
    if isinstance(facts, PhotoFacts):
        return Document(photo=facts, times=noted.stages()), prepared.crops
    return Document(clip=facts, times=noted.stages()), prepared.crops


def _prepared(task: Task, content: bytes, finder: Finder) -> Prepared[PhotoFacts] | Prepared[ClipFacts]:
    spec = task.spec
    if task.endpoint is Endpoint.PHOTO:
        return PhotoPreparation(finder, spec.image_limits, spec.max_faces).prepare(content, task.faces, _wanted)
    assert spec.clip is not None  # the service asks for clips only where the model scores them
    return ClipPreparation(finder, spec.clip, spec.video_limits, spec.min_clip_seconds).prepare(
        content, task.faces, _wanted
    )


def _wanted() -> bool:
    """Nothing ends work early here: whoever wants it no longer ends the worker."""
    return False


def _traceback() -> str:
    return traceback.format_exc()[-8_000:]


def _failure(error: ServiceError) -> Failure:
    if isinstance(error, OverloadedError) and isinstance(error.__cause__, MemoryError):
        # The limit is this worker's own, not a lack in the machine: trying again would not help.
        error = _lack_of_memory()
    return Failure(code=error.code, detail=error.detail, members=error.members)


def _lack_of_memory() -> DecoderFailedError:
    return DecoderFailedError(
        "decoding this file takes more memory than it may take: send a smaller one, or the camera's own file"
    )
