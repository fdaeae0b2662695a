"""Settings and fixtures of all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Property tests try the same examples in every run, so that a red one is red for everybody, and
# take the time that they need: a slow machine is no fault of the code.
settings.register_profile(
    "same examples",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("same examples")

# A shell that starts the suite in the background lets it ignore SIGINT, and so would all commands
# that tests interrupt: what is ignored is inherited, a handler is not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Restore signal handlers: the alarm of a command that was stopped here would end all tests."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    if signal.getsignal(signal.SIGALRM) is not before[signal.SIGALRM]:
        signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)
