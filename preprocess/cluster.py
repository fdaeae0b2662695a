"""A Dask cluster: machines that share a file system and do the work of this one.

A cluster trusts whoever reaches its scheduler's port; see docs/security.md.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from preprocess.errors import PreprocessError
from preprocess.files import new_temporary, write_errors
from preprocess.isolation import Decoders
from preprocess.parallel import Crew
from preprocess.worker import Unit, UnitResult

if TYPE_CHECKING:
    from distributed import Client

_ANSWER_SECONDS = 10
_WORKER_SECONDS = 60
_INSTALL = "pip install 'ttrnn[dask]'"


@contextmanager
def cluster(scheduler: str) -> Iterator[Client]:
    """A client of a running cluster. What it waits for is called off at the end.

    Args:
        scheduler: its address, such as tcp://host:8786.

    Raises:
        PreprocessError: if Dask is not installed here, no scheduler answers, or it has no workers.
    """
    if importlib.util.find_spec("distributed") is None:
        raise PreprocessError(f"--scheduler needs Dask: {_INSTALL}, here and on the workers.")
    from distributed import Client

    try:
        client = Client(scheduler, timeout=_ANSWER_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise PreprocessError(
            f"No Dask scheduler answers at {scheduler}. Start one with `dask scheduler`, and on "
            f"each machine `dask worker {scheduler}`."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKER_SECONDS)
        except TimeoutError as error:
            raise PreprocessError(
                f"The scheduler at {scheduler} has no workers. Start some on each machine: "
                f"dask worker {scheduler} --nworkers auto"
            ) from error
        yield client


@contextmanager
def shared_mark(client: Client, folder: Path) -> Iterator[Path]:
    """A file in a folder, seen by all workers, for as long as the client wants their results.

    Raises:
        PreprocessError: if a worker does not see it, or lacks this package.
    """
    with write_errors():
        mark = new_temporary(folder.absolute())
    try:
        try:
            seen = client.run(_sees, mark)
        except Exception as error:
            raise PreprocessError(
                f"A worker cannot run this package ({error}). Install the same version of it, and "
                "of Python, on all machines."
            ) from error
        blind = sorted(address for address, sees in seen.items() if not sees)
        if blind:
            raise PreprocessError(
                f"{len(blind)} of {len(seen)} workers do not see {mark.parent}, {blind[0]} for "
                "instance. All machines must have videos and results under the same path: on NFS, "
                "or in a mounted object store."
            )
        yield mark
    finally:
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def _sees(mark: Path) -> bool:
    return mark.exists()


@contextmanager
def cluster_executor(client: Client) -> Iterator[Executor]:
    """The threads of the workers; what is not done when this fails is called off.

    Raises:
        PreprocessError: if the cluster is lost, or workers die again and again.
    """
    from distributed import KilledWorker

    executor = client.get_executor(pure=False)
    try:
        yield executor
    except (CancelledError, KilledWorker) as error:
        raise PreprocessError(
            f"The cluster was lost, or workers died of one task again and again ({error}). What is "
            "finished is kept: when it is mended, run the same command again."
        ) from error
    finally:
        executor.shutdown(wait=False)


@contextmanager
def cluster_crew(scheduler: str, folder: Path) -> Iterator[Crew]:
    """The threads of a cluster's workers, each with a decoding process of its own.

    Args:
        scheduler: its address, such as tcp://host:8786.
        folder: of shards, which all workers must see.

    Raises:
        PreprocessError: if there is no such cluster, or a worker does not see the folder.
    """
    with (
        cluster(scheduler) as client,
        shared_mark(client, folder) as mark,
        cluster_executor(client) as executor,
    ):
        yield Crew(executor, _Extraction(mark))


@dataclass(frozen=True)
class _Extraction:
    """What a worker does with a unit.

    Args:
        mark: there as long as somebody waits for what comes of it.
    """

    mark: Path

    def __call__(self, unit: Unit) -> UnitResult:
        """Decode the clips of a unit into shards, which are removed if nobody waits any more.

        Raises:
            PreprocessError: if this machine does not see the folder.
        """
        require_mark(self.mark)
        result = _decoders().extract(unit)
        if not self.mark.exists():
            for shard in result.shards:
                shard.temporary.unlink(missing_ok=True)
        return result


@functools.cache
def _decoders() -> Decoders:
    """Of this worker, as long as it lives; idle ones go away by themselves."""
    return Decoders()


def require_mark(mark: Path) -> None:
    """For a worker, before it does anything.

    Raises:
        PreprocessError: if this machine does not see the mark.
    """
    if not mark.exists():
        raise PreprocessError(f"A worker that came later does not see {mark.parent}.")
