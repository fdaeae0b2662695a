"""A process that reads the pictures of a chunk, and may die without harm to its owner."""

from __future__ import annotations

import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from preprocess.errors import DecodeError
from preprocess.system.limits import STALL_SECONDS, ended_if_stalled, refusals_named
from preprocess.workers.child_process import ChildProcess, death_told

if TYPE_CHECKING:
    from experiments.highlights.scoring.picture_batches import Batch
    from experiments.highlights.scoring.pictures import PictureReader


class Progress:
    """Whether a process that reads gets on; waiting for its owner to take a batch counts."""

    def __init__(self) -> None:
        self.reader: PictureReader | None = None
        self.is_sending = False

    def __call__(self) -> float:
        if self.is_sending or self.reader is None:
            return time.monotonic()
        return self.reader.num_decoded


def batches_of(process: ChildProcess) -> Iterator[Batch]:
    """What a process reads.

    Raises:
        DecodeError: if it dies, or for what it says.
    """
    try:
        while (said := process.receive()) is not None:
            if isinstance(said, Exception):
                raise said
            yield said
    except EOFError as error:
        raise DecodeError(death_told(process.cause_of_death(), STALL_SECONDS)) from error


def serve_batches(pipe: Connection) -> None:
    """The end of the process that reads: all batches of a chunk."""
    reader, progress = pipe.recv(), Progress()
    try:
        with refusals_named(), ended_if_stalled(STALL_SECONDS) as watch:
            watch.follow(progress)
            for batch in reader.read_here(progress):
                progress.is_sending = True
                pipe.send(batch)
                progress.is_sending = False
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:
        pipe.send(error)
    pipe.send(None)
