"""Submission of tasks to processes of this machine, or to a Dask cluster.

A cluster is machines with a shared file system that take over the work of this one.

A cluster trusts whoever reaches its scheduler's port; see docs/security.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.extras import OptionalModule
from common.files import new_temporary, write_errors
from preprocess.errors import PreprocessError
from preprocess.video.ffmpeg import silent
from preprocess.workers.pool import Loader, WorkerPool

if TYPE_CHECKING:
    from distributed import Client

# Imported for --scheduler alone.
distributed: Any = OptionalModule("distributed")

_ANSWER_SECONDS = 10  # for the scheduler to answer
_WORKER_SECONDS = 60  # for a first worker to join, which may have been started a moment ago


Work = Callable[[Any, WorkerPool, Callable[[], bool]], Any]
"""Function of a task, of the processes that may work on it, and of `is_wanted`, which returns False
once nobody waits for the result any more. A cluster is sent it by name."""


@contextmanager
def open_workers(
    work: Work,
    scheduler: str | None,
    folder: Path,
    *,
    jobs: int = 1,
    needs: Sequence[Path] = (),
) -> Iterator[Callable[[Any], Future]]:
    """Yield a function that submits a task to this machine's processes or to a cluster's.

    Args:
        work: what is done with a task.
        scheduler: address of a Dask cluster, such as tcp://host:8786; None for this machine.
        folder: folder of the results, which all workers of a cluster must see.
        jobs: number of tasks that this machine works on at the same time.
        needs: absolute paths that must exist on all workers of a cluster, too.

    Raises:
        PreprocessError: if there is no such cluster, or a worker does not see a path.
    """
    if scheduler is None:
        pool = WorkerPool()
        with ThreadPoolExecutor(jobs) as threads:
            try:
                yield lambda task: threads.submit(work, task, pool, lambda: True)
            finally:
                # Processes first: their threads wait for them and end by EOFError.
                pool.close()
                threads.shutdown(cancel_futures=True)
        return
    with cluster(scheduler) as client, shared_mark(client, folder) as mark:
        for path in needs:
            _require_seen(client, path, named=path)
        there = _ClusterTask(work, mark, tuple(needs))
        _require_understood(client, there)
        with cluster_executor(client) as executor:
            yield lambda task: executor.submit(there, task)


def asking(loader: Loader) -> Work:
    """Work that has a process which `loader` has prepared answer each task, once."""
    return functools.partial(_ask, loader)


def _ask(loader: Loader, task: Any, pool: WorkerPool, is_wanted: Callable[[], bool]) -> Any:
    return pool.ask(loader, task, is_wanted)


@contextmanager
def cluster(scheduler: str) -> Iterator[Client]:
    """Connect to a running cluster; tasks that are not done at the end are cancelled.

    Args:
        scheduler: address of the scheduler, such as tcp://host:8786.

    Raises:
        MissingExtraError: if Dask is not installed here.
        PreprocessError: if no scheduler answers, or it has no workers.
    """
    try:
        # Not the default client: it would capture the work of any Dask code of the caller.
        client = distributed.Client(scheduler, timeout=_ANSWER_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise PreprocessError(
            f"No Dask scheduler answers at {scheduler}. Start one with `dask scheduler`, and on "
            f"each machine `dask worker {scheduler}`."
        ) from error
    # The client's log is silenced: exceptions report the same.
    with silent("distributed.client"), client:
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
    """Create a file that exists as long as the client wants results, visible to all workers.

    Args:
        client: a client of the cluster.
        folder: folder of the results, on the shared file system.

    Raises:
        PreprocessError: if a worker does not see the file, or lacks this package.
    """
    # One file serves two purposes: it proves that the folder is shared, and its absence tells a
    # worker that was cut off that nobody waits for its result any more.
    with write_errors():
        mark = new_temporary(folder.absolute())
    try:
        _require_seen(client, mark, named=mark.parent)
        yield mark
    finally:
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def _require_seen(client: Client, path: Path, *, named: Path) -> None:
    """Check that all workers see a path.

    Args:
        client: a client of the cluster.
        path: the path to look for.
        named: the path that the message names.

    Raises:
        PreprocessError: if a worker does not.
    """
    seen = _run_there(client.run, _sees, path)
    blind = sorted(address for address, sees in seen.items() if not sees)
    if blind:
        raise PreprocessError(
            f"{len(blind)} of {len(seen)} workers do not see {named}, {blind[0]} for instance. All "
            "machines must have videos, models and results under the same path: on NFS, or in a "
            "mounted object store."
        )


# Module functions and not lambdas: they are sent by name, which fails on a machine without this
# package instead of later, in the middle of the work.
def _sees(path: Path) -> bool:
    return path.exists()


def _require_understood(client: Client, work: Callable[[Any], Any]) -> None:
    """Check that scheduler and workers can unpickle what they will be given.

    Raises:
        PreprocessError: if one lacks this package or has another version of it.
    """
    # The scheduler too, for it unpickles tasks as well.
    for run in (client.run_on_scheduler, client.run):
        _run_there(run, _knows, work)


def _knows(work: Callable[[Any], Any]) -> bool:
    return callable(work)


def _run_there(run: Callable[..., Any], function: Callable[[Any], Any], argument: Any) -> Any:
    """Call a function on other machines and return the results.

    Raises:
        PreprocessError: if a machine cannot run it.
    """
    try:
        return run(function, argument)
    except Exception as error:
        raise PreprocessError(
            f"The scheduler, or a worker, cannot run this package ({error}). Install the same "
            "version of it, and of Python, on all machines, and start scheduler and workers anew."
        ) from error


@contextmanager
def cluster_executor(client: Client) -> Iterator[Executor]:
    """Executor on the threads of the workers; unfinished tasks are cancelled on failure.

    Raises:
        PreprocessError: if the cluster is lost, or workers die repeatedly.
    """
    # Tasks write files, so equal ones must not share one cached result.
    executor = client.get_executor(pure=False)
    try:
        yield executor
    except (CancelledError, distributed.KilledWorker) as error:
        reason = f" ({error})" if str(error) else ""
        raise PreprocessError(
            f"The cluster was lost, or workers died of one task again and again{reason}. What is "
            "finished is kept: when it is mended, run the same command again."
        ) from error
    finally:
        executor.shutdown(wait=False)


@dataclass(frozen=True)
class _ClusterTask:
    """Work as a worker of a cluster does it, in its own processes.

    Args:
        work: that of `open_workers`.
        mark: file that exists as long as somebody waits for the result.
        needs: paths that must exist, too.
    """

    work: Work
    mark: Path
    needs: tuple[Path, ...]

    def __call__(self, task: Any) -> Any:
        """Do the work.

        Raises:
            PreprocessError: if this machine does not see a path.
        """
        # Checked again for each task: this worker may have joined after `open_workers` looked.
        for path in (self.mark, *self.needs):
            if not path.exists():
                named = path.parent if path == self.mark else path
                raise PreprocessError(f"A worker that came later does not see {named}.")
        return self.work(task, _pool_of_this_worker(), self.mark.exists)


@functools.cache
def _pool_of_this_worker() -> WorkerPool:
    """Processes of this Dask worker, kept as long as it lives; idle ones end."""
    return WorkerPool()
