import pytest

from liveness_service.access.window import FixedWindows


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def windows(clock):
    return FixedWindows(2, 60, clock)


def test_a_window_takes_its_limit_and_says_how_long_to_wait(windows, clock):
    assert windows.take("a") is None
    clock.now += 20
    assert windows.take("a") is None
    clock.now += 0.5
    assert windows.take("a") == 39.5
    assert windows.take("b") is None


def test_the_window_begins_with_the_first_request_and_ends_when_it_was_said(windows, clock):
    windows.take("a")
    windows.take("a")
    clock.now += 59.99
    assert windows.take("a") == pytest.approx(0.01)
    clock.now += 0.01
    assert windows.take("a") is None
    assert windows.take("a") is None
    assert windows.take("a") == pytest.approx(60)


def test_callers_who_are_gone_take_no_memory(windows, clock):
    for number in range(1000):
        windows.take(f"early-{number}")
    clock.now += 30
    windows.take("late")
    assert len(windows) == 1001
    clock.now += 30
    windows.take("now")
    assert len(windows) == 2
