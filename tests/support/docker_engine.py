"""Images and containers of a Docker engine."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.engine import Container, Engine, ImageConfig, output_of

_HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")


class Docker(Engine):
    """The engine that the command `docker` talks to."""

    stands_in = False

    @staticmethod
    def answers() -> bool:
        """Whether there is one; the command alone is not it."""
        return (
            shutil.which("docker") is not None
            and subprocess.run(["docker", "version"], capture_output=True).returncode == 0
        )

    def config(self, image: str) -> ImageConfig:
        return ImageConfig.of(json.loads(output_of("docker", "image", "inspect", image))[0]["Config"])

    @contextmanager
    def root(self, image: str) -> Iterator[Path]:
        name = output_of("docker", "create", image).strip()
        try:
            with tempfile.TemporaryDirectory() as folder:
                content = Path(folder) / "root"
                content.mkdir()
                output_of("docker", "export", "--output", f"{folder}/root.tar", name)
                output_of("tar", "--extract", f"--file={folder}/root.tar", f"--directory={content}")
                yield content
        finally:
            output_of("docker", "rm", name)

    @contextmanager
    def started(self, image: str, environment: dict[str, str]) -> Iterator[Container]:
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        name = output_of(
            "docker", "run", "--detach", "--publish=127.0.0.1::8000", *_HARDENED, *variables, image
        ).strip()
        try:
            container = _DockerContainer(name)
            container.wait_until_live()
            yield container
        finally:
            output_of("docker", "rm", "--force", name)

    def remove(self, image: str) -> None:
        output_of("docker", "image", "rm", image)


class _DockerContainer(Container):
    def __init__(self, name: str) -> None:
        self.name = name
        self.url = "http://" + output_of("docker", "port", name, "8000/tcp").split()[0]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["docker", "exec", self.name, *command], capture_output=True, text=True, timeout=60)

    def runs(self) -> bool:
        return output_of("docker", "inspect", "--format={{.State.Running}}", self.name).strip() == "true"

    def stop(self, grace_s: float) -> int:
        output_of("docker", "stop", f"--time={grace_s:.0f}", self.name)
        return int(output_of("docker", "inspect", "--format={{.State.ExitCode}}", self.name))

    def log(self) -> str:
        done = subprocess.run(["docker", "logs", self.name], capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr
