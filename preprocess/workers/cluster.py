"""A Dask cluster: machines that share a file system and do the work of this one.

A cluster trusts whoever reaches its scheduler's port; see docs/security.md.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.files import new_temporary, write_errors
from preprocess.errors import PreprocessError
from preprocess.video.ffmpeg import silent
from preprocess.workers.model_workers import ModelLoader, ModelWorkers

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
    with silent("distributed.client"), client:  # what it logs is told by exceptions anyway
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
        _require_seen(client, mark, told=mark.parent)
        yield mark
    finally:
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def _require_seen(client: Client, path: Path, *, told: Path) -> None:
    """See that all workers see a path.

    Raises:
        PreprocessError: if one does not; it names what is told.
    """
    seen = _run_there(client.run, _sees, path)
    blind = sorted(address for address, sees in seen.items() if not sees)
    if blind:
        raise PreprocessError(
            f"{len(blind)} of {len(seen)} workers do not see {told}, {blind[0]} for instance. All "
            "machines must have videos, models and results under the same path: on NFS, or in a "
            "mounted object store."
        )


def _sees(path: Path) -> bool:
    return path.exists()


def _require_understood(client: Client, work: Callable[[Any], Any]) -> None:
    """See that scheduler and workers know what they will be given.

    Raises:
        PreprocessError: if one has no such package, or one of another version.
    """
    for run in (client.run_on_scheduler, client.run):
        _run_there(run, _knows, work)


def _knows(work: Callable[[Any], Any]) -> bool:
    return callable(work)


def _run_there(run: Callable[..., Any], function: Callable[[Any], Any], argument: Any) -> Any:
    """What comes of calling a function on other machines."""
    try:
        return run(function, argument)
    except Exception as error:
        raise PreprocessError(
            f"The scheduler, or a worker, cannot run this package ({error}). Install the same "
            "version of it, and of Python, on all machines, and start scheduler and workers anew."
        ) from error


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
        reason = f" ({error})" if str(error) else ""
        raise PreprocessError(
            f"The cluster was lost, or workers died of one task again and again{reason}. What is "
            "finished is kept: when it is mended, run the same command again."
        ) from error
    finally:
        executor.shutdown(wait=False)


@contextmanager
def cluster_submit(
    scheduler: str,
    folder: Path,
    make_work: Callable[[Path], Callable[[Any], Any]],
    needs: Sequence[Path] = (),
) -> Iterator[Callable[[Any], Future]]:
    """Give a function that submits an item to the workers of a cluster.

    Args:
        scheduler: its address, such as tcp://host:8786.
        folder: of results, which all workers must see.
        make_work: of a mark, makes what a worker does with an item. The mark is a file in the
            folder, there as long as somebody waits for the answer.
        needs: absolute paths of what must be there, too, on all workers.

    Raises:
        PreprocessError: if there is no such cluster, or a worker does not see what it must.
    """
    with cluster(scheduler) as client, shared_mark(client, folder) as mark:
        for path in needs:
            _require_seen(client, path, told=path)
        with cluster_executor(client) as executor:
            work = make_work(mark)
            _require_understood(client, work)
            yield lambda item: executor.submit(work, item)


@contextmanager
def cluster_model_workers(
    scheduler: str, folder: Path, loader: ModelLoader, needs: Sequence[Path]
) -> Iterator[Callable[[Any], Future]]:
    """Give a function that has a worker answer an item; see `preprocess.workers.model_workers`.

    Args:
        scheduler: its address, such as tcp://host:8786.
        folder: of results, which all workers must see.
        loader: of what answers; each thread of a worker has a process of its own for it.
        needs: absolute paths of what must be there, too, on all workers.

    Raises:
        PreprocessError: if there is no such cluster, or a worker does not see what it must.
    """
    work = functools.partial(_ModelTask, loader, needs=tuple(needs))
    with cluster_submit(scheduler, folder, work, needs) as submit:
        yield submit


@dataclass(frozen=True)
class _ModelTask:
    """Has an item answered on a worker of a cluster.

    Args:
        loader: of what answers it.
        mark: there as long as somebody waits for the answer.
        needs: paths that must be there, too.
    """

    loader: ModelLoader
    mark: Path
    needs: tuple[Path, ...]

    def __call__(self, item: Any) -> Any:
        """Have a process answer the item.

        Raises:
            PreprocessError: if this machine does not see what it must.
        """
        require_mark(self.mark)
        for path in self.needs:
            _require_here(path, told=path)
        return _worker_models().ask(self.loader, item, is_wanted=self.mark.exists)


@functools.cache
def _worker_models() -> ModelWorkers:
    """Of this worker, as long as it lives; idle ones go away by themselves."""
    return ModelWorkers()


def require_mark(mark: Path) -> None:
    """For a worker, before it does anything.

    Raises:
        PreprocessError: if this machine does not see the mark.
    """
    _require_here(mark, told=mark.parent)


def _require_here(path: Path, *, told: Path) -> None:
    if not path.exists():
        raise PreprocessError(f"A worker that came later does not see {told}.")
