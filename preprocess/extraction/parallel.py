"""Units of work to those who do them, and what comes of them back."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from preprocess.extraction.isolation import Decoders
from preprocess.extraction.worker import Unit, UnitResult


@dataclass(frozen=True)
class Crew:
    """Those who extract units.

    Args:
        executor: whose threads, here or on other machines, call `extract`.
        extract: a unit to what came of it.
    """

    executor: Executor
    extract: Callable[[Unit], UnitResult]


@contextmanager
def local_crew(jobs: int) -> Iterator[Crew]:
    """So many decoding processes on this machine, each watched by a thread. All end with this."""
    decoders = Decoders()
    with ThreadPoolExecutor(jobs) as threads:
        try:
            yield Crew(threads, decoders.extract)
        finally:
            decoders.close()
            threads.shutdown(cancel_futures=True)


def crew_of(scheduler: str | None, jobs: int, folder: Path) -> AbstractContextManager[Crew]:
    """A cluster's workers if a scheduler is named, else so many processes here.

    Args:
        scheduler: address of a Dask cluster, or None.
        jobs: decoding processes on this machine.
        folder: where shards are to lie.
    """
    if scheduler is None:
        return local_crew(jobs)
    from preprocess.extraction.cluster import cluster_crew

    return cluster_crew(scheduler, folder)


def run_units(units: Sequence[Unit], crew: Crew) -> Generator[UnitResult]:
    """What comes of the units, in the order in which they end.

    Raises:
        PreprocessError: if a unit cannot be worked on.
        WriteError: if a shard cannot be written.
    """
    waiting = [crew.executor.submit(crew.extract, unit) for unit in units]
    for future in as_completed(waiting):
        yield future.result()
