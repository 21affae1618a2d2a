"""What the kernel keeps from a worker besides memory and time: the network, other processes, and files.

- seccomp, through the library libseccomp: no socket can be made, no program started, no other process touched, no file
  made, renamed, removed or opened for writing. These calls fail; all others go on, so that a new version of a decoder
  needs no new list.
- Landlock (Linux 5.13): no file can be opened but the libraries' own, and these only for reading.

Either may be missing: on an old kernel, in a container whose profile forbids it, or without the library.
"""

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from liveness_service.workers.limits import forgo_privileges

_EPERM, _ENOSYS = errno.EPERM, errno.ENOSYS
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_CMP_MASKED_EQ, _CMP_NE = 7, 1

_DENIED = (
    # the network, and other ways out
    *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
    # programs and processes
    *("execve", "execveat", "fork", "vfork", "kill", "tkill", "pidfd_open", "pidfd_send_signal", "pidfd_getfd"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp"),
    *("setns", "unshare", "mount", "umount2", "pivot_root", "chroot"),
    # the kernel
    *("bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "init_module", "finit_module"),
    *("delete_module", "kexec_load", "reboot", "swapon", "swapoff", "sethostname", "setdomainname", "iopl", "ioperm"),
    *("quotactl", "acct", "settimeofday", "clock_settime", "adjtimex"),
    # files
    *("creat", "mkdir", "mkdirat", "mknod", "mknodat", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("rename", "renameat", "renameat2", "rmdir", "truncate", "ftruncate", "chmod", "fchmod", "fchmodat", "chown"),
    *("fchown", "lchown", "fchownat", "utime", "utimes", "utimensat", "setxattr", "lsetxattr", "fsetxattr"),
    *("removexattr", "name_to_handle_at", "open_by_handle_at", "memfd_create", "memfd_secret"),
    *("inotify_init", "inotify_init1", "fanotify_init", "shmget", "msgget", "semget", "mq_open"),
)
_NO_SUCH_CALL = ("clone3", "openat2")
"""Calls whose arguments a filter cannot see. The C library then uses the older ones."""
_CLONE_THREAD = 0x00010000

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_RIGHTS_OF_ABI_1 = (1 << 13) - 1
"""Every way to use files that the first version of Landlock knows."""


class _Compare(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


MEANS = ("landlock", "seccomp")


def missing_protection(readable: Sequence[Path]) -> list[str]:
    """The means that this system does not have, or does not let a worker use. Each is tried in a process of its own."""
    return [means for means in MEANS if not _works(means, readable)]


def enter_sandbox(readable: Sequence[Path], means: Sequence[str] = MEANS) -> None:
    """Give up, for good, what a worker does not need. `NO_NEW_PRIVS` must be set.

    Args:
        readable: files and folders that stay readable beside Python's own.
        means: what is used.

    Raises:
        OSError: the system does not have a means, or refuses to apply it.
    """
    if "landlock" in means:
        _restrict_files(readable)
    if "seccomp" in means:
        _filter_calls()


def _works(means: str, readable: Sequence[Path]) -> bool:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            forgo_privileges()
            enter_sandbox(readable, [means])
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


@cache
def _libseccomp() -> ctypes.CDLL:
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Compare),
    ]
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    return library


def _filter_calls() -> None:
    library = _libseccomp()
    rules = library.seccomp_init(_ALLOW)

    def deny(name: str, *conditions: _Compare, error: int = _EPERM) -> None:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:  # not a call of this kernel or this processor
            return
        given = (_Compare * len(conditions))(*conditions) if conditions else None
        if failed := library.seccomp_rule_add_array(rules, _ERRNO | error, number, len(conditions), given):
            raise OSError(-failed, f"seccomp: {name}")

    try:
        for name in _DENIED:
            deny(name)
        for name in _NO_SUCH_CALL:
            deny(name, error=_ENOSYS)
        deny("clone", _Compare(0, _CMP_MASKED_EQ, _CLONE_THREAD, 0))  # new threads are allowed, processes are not
        deny("tgkill", _Compare(0, _CMP_NE, os.getpid(), 0))  # `abort` signals its own process
        deny("prlimit64", _Compare(0, _CMP_NE, 0, 0))  # limits of other processes
        for bit in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC):
            deny("open", _Compare(1, _CMP_MASKED_EQ, bit, bit))
            deny("openat", _Compare(2, _CMP_MASKED_EQ, bit, bit))
        if failed := library.seccomp_load(rules):
            raise OSError(-failed, "seccomp: the filter cannot be loaded")
    finally:
        library.seccomp_release(rules)


def _restrict_files(readable: Sequence[Path]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def call(number: int, *arguments: object) -> int:
        result = int(libc.syscall(number, *arguments))
        if result < 0:
            raise OSError(ctypes.get_errno(), "landlock")
        return result

    handled = struct.pack("Q", _RIGHTS_OF_ABI_1)
    rules = call(_LANDLOCK_CREATE, handled, len(handled), 0)
    try:
        for path in {path.resolve() for path in [*_of_python(), *readable] if path.exists()}:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rights = _READ_FILE | _READ_DIR if path.is_dir() else _READ_FILE
            call(_LANDLOCK_ADD, rules, 1, struct.pack("=Qi", rights, opened), 0)
            os.close(opened)
        call(_LANDLOCK_RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _of_python() -> list[Path]:
    """Where Python and its libraries are: some modules are imported when they are first needed."""
    folders = [
        sys.prefix,
        sys.base_prefix,
        *(path for path in sys.path if path),
        "/usr/lib",
        "/lib",
        "/usr/share/zoneinfo",
    ]
    return [Path(folder) for folder in folders]
