"""Units of work to worker processes, and what comes of them back."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

from preprocess.errors import PreprocessError
from preprocess.worker import Unit, UnitResult, extract_unit

_IDLE_SECONDS = 20  # after which a worker whose owner was killed goes away


def run_units(units: Sequence[Unit], *, jobs: int) -> Generator[UnitResult]:
    """What comes of the units, in the order in which they end.

    When the iterator is closed, or fails, no worker is left.

    Args:
        units: of work.
        jobs: worker processes. With one, the work is done in this very process.

    Raises:
        PreprocessError: if a worker died.
        WriteError: if a worker could not write.
    """
    jobs = min(jobs, len(units))
    yield from map(extract_unit, units) if jobs <= 1 else _run_in_processes(units, jobs)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits; processes started meanwhile never see one, not even while they start up."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_in_processes(units: Sequence[Unit], jobs: int) -> Generator[UnitResult]:
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    parallel = Parallel(
        n_jobs=jobs,
        backend="loky",
        inner_max_num_threads=1,
        return_as="generator_unordered",
        idle_worker_timeout=_IDLE_SECONDS,
    )
    try:
        with interrupts_held_back():
            results = parallel(delayed(extract_unit)(unit) for unit in units)
        yield from results
    except TerminatedWorkerError as error:
        raise PreprocessError(
            "A worker process died: a video made the decoder crash, or the system ran out of "
            "memory and ended it. Finished shards are kept. Run the same command again; if a "
            "worker dies once more, use fewer --jobs or move the newest videos away."
        ) from error
    finally:
        get_reusable_executor().shutdown(wait=True, kill_workers=True)
