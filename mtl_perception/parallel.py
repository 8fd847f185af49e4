# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One function for many jobs, in several processes."""

import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mtl_perception.errors import PerceptionError
from mtl_perception.signals import SIGNALS

if TYPE_CHECKING:  # the node, which counts CPUs only, starts without them
    from concurrent.futures import Future, ProcessPoolExecutor
    from multiprocessing import connection

Job = TypeVar('Job')
Tool = TypeVar('Tool')
Result = TypeVar('Result')

AHEAD = 2
"""Jobs per process that are begun before the result of the first of them is taken."""
GRACE_S = 2.0
"""After the last job, processes that have not ended by themselves by then are ended, seconds."""

_tools: list[Any] = []
"""What the jobs of this process share, once it is there."""


class WorkerError(PerceptionError):
    """A process of a calculation ended when it should not, or met an unexpected error."""

    exit_code = 1


def in_processes(
    work: Callable[[Tool, Job], Result], jobs: Sequence[Job], workers: int,
    make_tool: Callable[[], Tool], name: Callable[[Job], str],
) -> Iterator[Result]:
    """
    Yield the result of a function for every job, in the order of the jobs.

    The processes are spawned: forked ones would inherit threads and locks of torch and OpenVINO.
    They end at once when the caller ends, in whatever way, or stops iterating. Signals that ask
    to stop reach the caller alone, even those that are sent to all processes of a group.

    :param work: called with the tool and a job; it and its results travel between processes.
    :param jobs: what to do.
    :param workers: number of processes, at least 1.
    :param make_tool: makes what all jobs of a process share, such as an engine; called once in
        each. Its errors are raised as they are.
    :param name: of a job, for messages, such as ``street 20003``.
    :raises WorkerError: naming the job that failed, or those that a dead process may have had.
    :raises PerceptionError: of the class that a job raised, with the name of the job.
    :raises OSError: that a job raised.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context('spawn')
    ended, alive = context.Pipe(duplex=False)
    waiting = deque(jobs)
    begun: deque[tuple[str, Future[Result]]] = deque()
    with unheard():  # of the process that looks after semaphores, too
        pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_end_with_parent, initargs=(ended,))

    try:
        while waiting or begun:
            while waiting and len(begun) < AHEAD * workers:
                job = waiting.popleft()
                begun.append((name(job), _submit(pool, make_tool, work, name(job), job)))
            yield _result(begun)
            begun.popleft()
    finally:
        # where jobs are left, nobody wants them any more
        if begun:
            alive.close()

        # a pool that has lost a process sends SIGTERM to the others, which do not hear it
        ending = threading.Timer(GRACE_S, alive.close)
        ending.start()
        pool.shutdown(wait=True, cancel_futures=True)
        ending.cancel()
        ending.join()
        alive.close()
        ended.close()


def cpu_count() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else (
        os.cpu_count() or 1)


def _submit(pool: 'ProcessPoolExecutor', *job: Any) -> 'Future[Any]':
    """Hand a job over, for which a process may start."""
    from concurrent.futures import BrokenExecutor, Future

    try:
        with unheard():
            return pool.submit(_run, *job)
    except BrokenExecutor as error:
        # a process has died since the last result; that of a job before this one tells
        lost: Future[Any] = Future()
        lost.set_exception(error)
        return lost


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Keep signals that ask to stop from the processes that start inside of this context."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _result(begun: Sequence[tuple[str, 'Future[Result]']]) -> Result:
    """Return the result of the first of some jobs."""
    from concurrent.futures.process import BrokenProcessPool

    running = [name for name, future in begun if not future.done()]
    try:
        return begun[0][1].result()
    except BrokenProcessPool as error:
        raise WorkerError(
            f'a process that worked on {", ".join(running or [begun[0][0]])} died without a '
            'word; it may have had too little memory, so use fewer --workers') from error


def _run(
    make_tool: Callable[[], Tool], work: Callable[[Tool, Job], Result], name: str, job: Job,
) -> Result:
    """Do a job in this process; what goes wrong has its name."""
    if not _tools:
        _tools.append(make_tool())
    try:
        return work(_tools[0], job)
    except OSError:
        raise  # it names its file
    except PerceptionError as error:
        if name in str(error):
            raise
        named = type(error)(f'{name}: {error}')
        named.code = error.code
        raise named from error
    except Exception as error:  # of any kind, so that the message names the job
        raise WorkerError(f'{name}: {type(error).__name__}: {error}') from error


def _end_with_parent(ended: 'connection.Connection') -> None:
    """End this process as soon as the parent has ended or closed its end of a pipe."""
    threading.Thread(target=_wait_for_parent, args=(ended,), daemon=True).start()


def _wait_for_parent(ended: 'connection.Connection') -> None:
    """End this process once the parent has ended, even if that was killed, or wants it."""
    import multiprocessing
    from multiprocessing import connection

    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([ended, parent.sentinel])
    os._exit(1)
