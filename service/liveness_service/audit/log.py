"""Writes the audit log in a thread beside the event loop. A verdict that cannot be written is not given."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from liveness_service.audit.chained_file import ChainedFile, Rotation
from liveness_service.audit.lines import BEGIN, now, resumed_line
from liveness_service.errors import AuditFailedError
from liveness_service.observability.metrics import Metrics

log = structlog.get_logger(__name__)

_TIMEOUT_S = 5.0
"""Longest wait for the disk; one that does not answer counts as a failure, like a full one."""
_TRUST_S = 1.0
"""How long a disk that took a line or passed a check is not checked again: a flood of probes must not keep it busy."""


@dataclass(slots=True)
class _Failure:
    since: str = field(default_factory=now)
    refused: int = 0


class AuditLog:
    """Writes lines to the audit log. Lines that wait for the disk are written together, in one call with one sync."""

    def __init__(
        self, path: Path, metrics: Metrics, *, key: bytes | None = None, rotation: Rotation | None = None
    ) -> None:
        """Remember where to write; `start` opens the file.

        Args:
            path: the file.
            metrics: count lines and failures.
            key: the secret of the lines' seals; None for seals that everybody can make.
            rotation: when a new file begins; None for never.
        """
        self._path = path
        self._metrics = metrics
        self._file = ChainedFile(path, BEGIN, key=key, rotation=rotation)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._waiting: dict[asyncio.Future[OSError | None], bytes] = {}
        self._writer: asyncio.Task[None] | None = None
        self._failure: _Failure | None = None
        self._trusted_until = 0.0

    @property
    def failing(self) -> bool:
        """Whether the last attempt to write failed."""
        return self._failure is not None

    async def start(self) -> None:
        """Open the file. If that fails, the service logs it and runs, but is not ready: as with a faulty model."""
        if await self._written(b"") is None:
            log.info("audit_log_opened", path=str(self._path))

    async def record(self, line: bytes) -> None:
        """Write the line of a verdict. When this returns, the line is on the disk.

        Raises:
            AuditFailedError: the line could not be written.
        """
        error = await self._written(line)
        if error is not None:
            self._metrics.audit_failures.inc()
            if self._failure is not None:
                self._failure.refused += 1
            raise _refusal(error)
        self._metrics.audit_records.inc()

    async def check(self) -> None:
        """Find out whether the next verdict could be recorded. After a failure, the log gets a line with the gap then.

        Raises:
            AuditFailedError: the log cannot be written.
        """
        if self._failure is None and time.monotonic() < self._trusted_until:
            return
        if (error := await self._written(b"")) is not None:
            raise _refusal(error)

    async def close(self) -> None:
        """Write the lines that wait, then close the file."""
        if self._writer is not None:
            await asyncio.wait({self._writer}, timeout=_TIMEOUT_S)
        self._thread.submit(self._file.close)
        self._thread.shutdown(wait=False)

    async def _written(self, line: bytes) -> OSError | None:
        """Hand a line to the writer and wait until it is written; returns the error, or None. Empty: only check."""
        done: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
        self._waiting[done] = line
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_what_waits())
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await done
        except TimeoutError as error:
            self._fails(error)
            return error
        finally:
            self._waiting.pop(done, None)

    async def _write_what_waits(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, {}
            error = await self._append(b"".join(batch.values()))
            for done in batch:
                if not done.done():
                    done.set_result(error)

    async def _append(self, lines: bytes) -> OSError | None:
        failed = self._failure
        gap = b"" if failed is None else resumed_line(failed.since, failed.refused)
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._put, gap, lines)
        except OSError as error:
            self._fails(error)
            return error
        self._trusted_until = time.monotonic() + _TRUST_S
        if failed is not None:
            self._failure = None
            log.info("audit_log_resumed", failing_since=failed.since, refused=failed.refused)
        return None

    def _put(self, gap: bytes, lines: bytes) -> None:
        if not lines:
            self._file.check()
        if gap or lines:
            self._file.append(gap + lines)

    def _fails(self, error: OSError) -> None:
        if self._failure is None:
            self._failure = _Failure()
            log.error("audit_log_failed", path=str(self._path), reason=_reason(error), note="no verdict is given")


def _reason(error: OSError) -> str:
    return error.strerror or f"no answer within {_TIMEOUT_S:g} s"


def _refusal(error: OSError) -> AuditFailedError:
    return AuditFailedError(
        f"the audit log cannot be written ({_reason(error)}), and a verdict that is not recorded is not given: check "
        "the disk of LIVENESS_AUDIT_LOG_PATH, then send the file again"
    )
