from collections.abc import Iterator

import pytest

from support.server import Server, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One service with the default bundle and default settings for all tests that only ask it."""
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running
