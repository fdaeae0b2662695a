"""What holds in all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Property tests try the same examples in every run, so that a red one is red for everybody.
settings.register_profile("same examples", derandomize=True)
settings.load_profile("same examples")


@pytest.fixture
def signals_as_before() -> Iterator[None]:
    """For tests that stop a command in this process: no signal of theirs comes later."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)
