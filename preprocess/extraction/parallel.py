"""Execution of decoding tasks by processes of this machine or the workers of a Dask cluster.

A decoding process that crashes, stalls or asks for too much memory costs one clip, not the job.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from preprocess.errors import PreprocessError
from preprocess.extraction.worker import Begun, ClipTask, Ended, TaskResult, serve_tasks
from preprocess.sources.clips import Clip
from preprocess.workers.child_process import STALLED, ChildProcess, ProcessPool, describe_death
from preprocess.workers.cluster import cluster_submit, require_mark

Submit = Callable[[ClipTask], Future[TaskResult]]
"""Function that submits a task to some worker."""
# Processes that may die before they begin a clip. More is no clip's fault: a missing library, say.
_FALSE_STARTS = 3


@dataclass(frozen=True)
class _Death:
    """Cause of death of a decoding process, and its clip; None if it had not begun one."""

    clip: Clip | None
    cause: str


class Decoders:
    """Reusable decoding processes, as many as tasks are worked on at the same time.

    A process without work ends after a while.
    """

    def __init__(self) -> None:
        self._pool = ProcessPool(lambda _: ChildProcess(serve_tasks))

    def extract(self, task: ClipTask) -> TaskResult:
        """Decode the clips of a task into shards. Threads may call it at the same time.

        A clip at which the process dies is tried once more, in a fresh one, since memory may have
        been short or an earlier clip to blame; a clip at which it stalls is not.

        Raises:
            PreprocessError: if no decoding process can be started, or the decoders are closed.
            WriteError: if a shard cannot be written.
        """
        total, tried, false_starts = TaskResult(), set(), 0
        while task.clips:
            task, death = self._attempt(task, total)
            if death is None:
                break
            clip, cause = death.clip, death.cause
            if clip is None:
                false_starts += 1
                if false_starts == _FALSE_STARTS:
                    raise PreprocessError(f"Decoding processes end as they start ({cause}).")
            elif cause == STALLED or clip.source in tried:
                # The clip fails; the clips of its unfinished shard are decoded again without it.
                total.add(
                    TaskResult(
                        num_clips=1,
                        failures={clip.source: describe_death(cause, task.stall_seconds)},
                    )
                )
                task = replace(task, clips=tuple(other for other in task.clips if other != clip))
            else:
                tried.add(clip.source)
        return total

    def close(self) -> None:
        """Kill all processes, including those at work."""
        self._pool.close()

    def _attempt(self, task: ClipTask, total: TaskResult) -> tuple[ClipTask, _Death | None]:
        """Work on a task until its end or the process's; return what is left of it.

        Results are added to `total` as each shard is finished.
        """
        with self._pool.process() as process:
            process.send(task)
            # Clips begun since the last finished shard: the last of them is the one in work.
            begun = 0
            while True:
                try:
                    event = process.receive()
                except EOFError:
                    clip = task.clips[begun - 1] if begun else None
                    return task, _Death(clip, process.cause_of_death())
                match event:
                    case Ended():
                        return task, None
                    case Begun():
                        begun += 1
                    case TaskResult():
                        total.add(event)
                        task, begun = task.without(event.num_clips), 0
                    case _:  # an exception that is no clip's fault
                        raise event


def open_workers(scheduler: str | None, jobs: int, folder: Path) -> AbstractContextManager[Submit]:
    """Yield a function that submits tasks to a cluster or to processes of this machine.

    Args:
        scheduler: address of a Dask cluster, or None for processes of this machine.
        jobs: number of decoding processes on this machine.
        folder: folder of the shards.
    """
    return local_workers(jobs) if scheduler is None else cluster_workers(scheduler, folder)


@contextmanager
def local_workers(jobs: int) -> Iterator[Submit]:
    """Run decoding processes on this machine, each with a thread. All end with the context."""
    decoders = Decoders()
    with ThreadPoolExecutor(jobs) as threads:
        try:
            yield lambda task: threads.submit(decoders.extract, task)
        finally:
            # Processes first: their threads wait for them and end by EOFError.
            decoders.close()
            threads.shutdown(cancel_futures=True)


@contextmanager
def cluster_workers(scheduler: str, folder: Path) -> Iterator[Submit]:
    """Run tasks on the threads of a cluster's workers, each with a decoding process of its own.

    Args:
        scheduler: address of the scheduler, such as tcp://host:8786.
        folder: folder of the shards, which all workers must see.

    Raises:
        PreprocessError: if there is no such cluster, or a worker does not see the folder.
    """
    with cluster_submit(scheduler, folder, ClusterExtraction) as submit:
        yield submit


@dataclass(frozen=True)
class ClusterExtraction:
    """Function of a task that runs on a worker of a cluster.

    Args:
        mark: file that exists as long as somebody waits for the result.
    """

    mark: Path

    def __call__(self, task: ClipTask) -> TaskResult:
        """Decode the clips of a task into shards, which are removed if nobody waits any more.

        Raises:
            PreprocessError: if this machine does not see the folder.
        """
        require_mark(self.mark)
        result = _worker_decoders().extract(task)
        # The owner may have been killed meanwhile; nobody else would remove these shards.
        if not self.mark.exists():
            for shard in result.shards:
                shard.temporary.unlink(missing_ok=True)
        return result


@functools.cache
def _worker_decoders() -> Decoders:
    """Decoding processes of this Dask worker, kept as long as it lives; idle ones end."""
    return Decoders()
