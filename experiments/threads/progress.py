"""How far the budget of time is used up, for people who wait."""

from __future__ import annotations

import sys
import threading
import time

from tqdm import tqdm


class BudgetProgress:
    """A bar of time, with what is being done; it moves by itself.

    Args:
        seconds: the budget.
    """

    def __init__(self, seconds: float) -> None:
        self._bar = tqdm(
            total=round(seconds),
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, at most {remaining} more",
            leave=False,
        )
        self._started = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._move, daemon=True)

    def say(self, text: str) -> None:
        """What is being done now."""
        self._bar.set_description_str(text)

    def print(self, text: str) -> None:
        """A text above the bar."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def __enter__(self) -> BudgetProgress:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._bar.close()

    def _move(self) -> None:
        while not self._stopped.wait(1.0):
            self._bar.n = min(self._bar.total, int(time.monotonic() - self._started))
            self._bar.refresh()
