"""Images of buildah; containers from Linux's own means: namespaces, a read-only mount, chroot, setpriv. Needs root."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.engine import Container, Engine, ImageConfig, output_of
from support.server import free_port

_ENTER = Path(__file__).with_name("enter_root.sh")
_NAMESPACES = ("--mount", "--pid", "--ipc", "--uts")


class Buildah(Engine):
    """buildah, with a stand-in for the base image, since no registry is asked."""

    stands_in = True

    def __init__(self) -> None:
        os.environ.setdefault("STORAGE_DRIVER", "vfs")  # the store that the image was built into

    def config(self, image: str) -> ImageConfig:
        return ImageConfig.of(json.loads(output_of("buildah", "inspect", "--type=image", image))["Docker"]["config"])

    @contextmanager
    def root(self, image: str) -> Iterator[Path]:
        name = output_of("buildah", "from", "--pull-never", image).strip()
        try:
            yield Path(output_of("buildah", "mount", name).strip())
        finally:
            output_of("buildah", "rm", name)

    @contextmanager
    def started(self, image: str, environment: dict[str, str]) -> Iterator[Container]:
        with self.root(image) as root, tempfile.NamedTemporaryFile() as log:
            container = _NamespacedContainer(root, self.config(image), environment, Path(log.name))
            try:
                container.wait_until_live()
                yield container
            finally:
                container.process.kill()
                container.process.wait()

    def remove(self, image: str) -> None:
        output_of("buildah", "rmi", image)


class _NamespacedContainer(Container):
    """It shares the host's network, so it listens on a free port."""

    def __init__(self, root: Path, config: ImageConfig, environment: dict[str, str], log_file: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.user = config.user
        variables = config.environment | {"HOME": "/tmp", "LIVENESS_PORT": str(port)} | environment
        self.variables = [f"{name}={value}" for name, value in variables.items()]
        self.log_file = log_file
        enter = ["sh", _ENTER, root, config.user, config.folder, *self.variables]
        with log_file.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", *_NAMESPACES, "--fork", "--kill-child", *enter, *config.entrypoint, *config.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """Of its first process, as the host counts."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        user, group = self.user.split(":")
        enter = ["nsenter", f"--target={self.pid}", *_NAMESPACES, "--root", "--wd"]
        as_user = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
        whole = [*enter, *as_user, "env", "-i", *self.variables, *command]
        return subprocess.run(whole, capture_output=True, text=True, timeout=60)

    def runs(self) -> bool:
        return self.process.poll() is None

    def stop(self, grace_s: float) -> int:
        os.kill(self.pid, signal.SIGTERM)
        try:
            return self.process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            return 137

    def log(self) -> str:
        return self.log_file.read_text()
