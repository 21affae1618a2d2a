"""What holds images and runs them, whichever program does it."""

import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx


def output_of(*command: str | Path) -> str:
    """What a command prints; its failure is the test's."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says of how it is to be run."""

    user: str
    entrypoint: list[str]
    command: list[str]
    environment: dict[str, str]
    labels: dict[str, str]
    ports: list[str]
    health_command: list[str]
    folder: str

    @classmethod
    def of(cls, config: dict[str, Any]) -> "ImageConfig":
        """From the `Config` of Docker's format."""
        return cls(
            user=config["User"],
            entrypoint=config["Entrypoint"],
            command=config["Cmd"],
            environment=dict(each.split("=", 1) for each in config["Env"]),
            labels=config["Labels"],
            ports=list(config["ExposedPorts"]),
            health_command=config["Healthcheck"]["Test"][1:],
            folder=config["WorkingDir"],
        )


class Container(ABC):
    """A container that runs its image's own command on a root that cannot be written to, without capabilities."""

    url: str

    @abstractmethod
    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as its user."""

    @abstractmethod
    def stop(self, grace_s: float) -> int:
        """Ask it to stop; its exit status, 137 when it had to be killed after that time."""

    @abstractmethod
    def log(self) -> str:
        """What it wrote so far."""

    @abstractmethod
    def runs(self) -> bool:
        """Whether it still does."""

    def wait_until_live(self, timeout_s: float = 90) -> None:
        """Wait for its first answer."""
        deadline = time.monotonic() + timeout_s
        while self.runs() and time.monotonic() < deadline:
            try:
                httpx.get(f"{self.url}/health/live").raise_for_status()
            except httpx.TransportError:
                time.sleep(0.2)
            else:
                return
        raise AssertionError(f"the container did not start:\n{self.log()}")


class Engine(ABC):
    """A program that holds images and runs them."""

    stands_in: bool
    """The base of the images is not the one that their Dockerfiles name."""

    @abstractmethod
    def config(self, image: str) -> ImageConfig:
        """How the image is to be run."""

    @abstractmethod
    def root(self, image: str) -> AbstractContextManager[Path]:
        """The image's files, in a folder."""

    @abstractmethod
    def started(self, image: str, environment: dict[str, str]) -> AbstractContextManager[Container]:
        """A container of the image, removed in the end."""

    @abstractmethod
    def remove(self, image: str) -> None:
        """Forget the image."""
