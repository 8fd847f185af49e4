# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Every engine and precision that this machine has, each in its own process, taking turns."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.benchmark.engine_worker import (
    CONTROL,
    FIRST,
    NEXT,
    PLANTED,
    USUAL,
    Job,
)
from mtl_perception.evaluation.benchmark.frames import Size, street_frames
from mtl_perception.evaluation.benchmark.timing import Yardstick, ratio_of, spread_of
from mtl_perception.evaluation.processes import ProgramError

CHOICES = (
    ('torch', 'cpu', 'fp32'), ('torch', 'cpu', 'bf16'), ('onnx', 'cpu', 'fp32'),
    ('openvino', 'cpu', 'fp32'), ('openvino', 'cpu', 'bf16'), ('openvino', 'cpu', 'int8'),
    ('torch', 'cuda', 'fp32'), ('torch', 'cuda', 'bf16'), ('torch', 'cuda', 'fp16'),
    ('onnx', 'cuda', 'fp32'), ('onnx', 'tensorrt', 'fp32'), ('onnx', 'tensorrt', 'fp16'))
"""Engine, device and precision that are tried; the first one that runs is what others stand
beside."""
IMAGES = 6
"""Consecutive frames of each size."""
CONTROLS = 40
"""Calls of the control."""

WORKER = Job.__module__

Progress = Callable[[str], object]


@dataclass(frozen=True)
class EnginePlan:
    """
    What is measured.

    :param model: name or path.
    :param size: width and height of the network's input.
    :param cameras: sizes of camera images.
    :param engine: name of one, or ``auto`` for all.
    :param device: kind of one, or ``auto`` for all.
    :param threads: numbers of CPU threads; 0 is one less than there are CPUs.
    :param rounds: how often everything takes its turn.
    :param calls: timed calls of a way in a round.
    :param seconds: after which no further round begins; a busy machine makes fewer.
    :param usual: whether the usual pattern stands beside.
    """

    model: str
    size: Size
    cameras: Sequence[Size]
    engine: str = 'auto'
    device: str = 'auto'
    threads: Sequence[int] = (1,)
    rounds: int = 20
    calls: int = 3
    seconds: float = 600.0
    usual: bool = True

    def choices(self) -> list[tuple[str, str, str, int]]:
        """Return engine, device, precision and threads of everything that is tried."""
        found = [
            (*choice, threads) for threads in self.threads for choice in CHOICES
            if self.engine in ('auto', choice[0]) and self.device in ('auto', choice[1])]
        if self.usual:
            # on the devices of the engines, as far as torch has them
            kinds = {device for _, device, _, _ in found} & {'cpu', 'cuda'}
            found += [(USUAL, device, 'fp32', threads)
                      for threads in self.threads for device in sorted(kinds)]
        return found


class Worker:
    """
    A process of :mod:`mtl_perception.evaluation.benchmark.engine_worker`.

    :param job: what it runs.
    :param log: file of its standard error.
    """

    def __init__(self, job: Job, log: Path) -> None:
        self.job = job
        self.times: dict[str, list[list[float]]] = {}
        """Way -> wall and CPU time of a round: medians of its calls."""
        with log.open('wb') as errors:
            self._process = subprocess.Popen(
                [sys.executable, '-m', WORKER], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
                env={**os.environ, 'PYTHONUNBUFFERED': '1'})
        self._log = log
        self.facts: dict[str, Any] = self._ask(asdict(job))

    def time(self, way: str, count: int) -> Any:
        """Return the answer of the worker to a way, or to the control."""
        return self._ask([way, count])

    def round(self, calls: int) -> None:
        """Time each way, some calls of it."""
        for way in self.facts['ways']:
            values = np.median(self.time(way, calls), axis=0).tolist()
            self.times.setdefault(way, []).append(values)

    def close(self) -> None:
        """End the process."""
        with suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, question: Any) -> Any:
        """Return the answer to a line; refuse a worker that has died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b'\n')
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = b''
        if line:
            return json.loads(line)

        # an illegal instruction or a lack of memory ends a process without a word
        code = self._process.wait()
        tail = self._log.read_text(errors='replace').splitlines()[-3:]
        raise ProgramError(f'the process ended with {code}: {" / ".join(tail)}')


def measure_engines(plan: EnginePlan, progress: Progress) -> dict[str, Any]:
    """
    Measure the engines of this machine.

    :param plan: what is measured.
    :param progress: is called with what is going on.
    :return: ``frames``, ``engines``, ``left_out``, ``noise`` and ``controls``, for the report.
    :raises ConfigurationError: if no engine runs here.
    """
    progress('drawing the frames')
    frames = street_frames([plan.size, *plan.cameras], IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / 'images.npz'
        frames.save(images)
        cameras = [f'{width}x{height}' for width, height in plan.cameras]
        jobs = [Job(plan.model, *choice, str(images), frames.focal_px, cameras)
                for choice in plan.choices()]
        left_out: list[dict[str, Any]] = []

        with _started(jobs, Path(folder), left_out, progress) as workers:
            if not any(worker.job.engine != USUAL for worker in workers):
                reasons = '; '.join(f'{one["engine"]} {one["device"]}: {one["reason"]}'
                                    for one in left_out)
                raise ConfigurationError(f'no engine runs here: {reasons}')

            yardstick = Yardstick()
            end = time.monotonic() + plan.seconds
            rounds = 0
            while rounds < plan.rounds and (not rounds or time.monotonic() < end):
                rounds += 1
                progress(f'round {rounds} of {plan.rounds}')
                for worker in workers:
                    yardstick.measure()
                    worker.round(plan.calls)

            progress('control')
            controls = _controls(workers[0])
            rows = [_row(worker, workers) for worker in workers]

    noise = yardstick.facts()
    return {
        'frames': {'what': frames.what, 'sha256': frames.sha256,
                   'sizes': [f'{width}x{height}' for width, height in frames.images]},
        'rounds': rounds, 'calls': plan.calls, 'engines': rows, 'left_out': left_out,
        'noise': noise, 'controls': controls}


@contextmanager
def _started(
    jobs: Sequence[Job], folder: Path, left_out: list[dict[str, Any]], progress: Progress,
) -> Iterator[list[Worker]]:
    """Give the workers that run; the reasons of the others go into a list."""
    workers: list[Worker] = []
    try:
        for number, job in enumerate(jobs):
            progress(f'loading {job.engine} {job.device} {job.precision}')
            try:
                worker = Worker(job, folder / f'{number}.log')
            except ProgramError as error:
                left_out.append(_left_out(job, str(error)))
                continue

            workers.append(worker)
            if 'error' in worker.facts:
                left_out.append(_left_out(job, worker.facts['error']))
                workers.pop().close()
        yield workers
    finally:
        for worker in workers:
            worker.close()


def _left_out(job: Job, reason: str) -> dict[str, Any]:
    """Return what does not run here, and why."""
    return {'engine': job.engine, 'device': job.device, 'precision': job.precision,
            'threads': job.threads, 'reason': reason}


def _row(worker: Worker, workers: Sequence[Worker]) -> dict[str, Any]:
    """Return the figures of one engine, beside the first one with as many threads."""
    reference = next(
        other for other in workers if other.facts['setup']['threads']
        == worker.facts['setup']['threads'])
    ways = {}
    for way, times in worker.times.items():
        wall, cpu = ([one[index] for one in times] for index in (0, 1))
        ways[way] = {'wall_ms': asdict(spread_of(wall)), 'cpu_ms': asdict(spread_of(cpu))}
        if way not in reference.times or worker is reference:
            continue

        # one thread of a CPU: its own time, which other programs disturb little
        by_cpu = all(
            one.facts['setup']['device'] == 'cpu' and one.facts['setup']['threads'] == 1
            for one in (worker, reference))
        beside = [one[by_cpu] for one in reference.times[way]]
        ratio = ratio_of(beside, cpu if by_cpu else wall)
        ways[way]['times_as_fast'] = {**asdict(ratio), 'by': 'cpu' if by_cpu else 'wall'}

    found = {**worker.facts['setup'], 'load_s': worker.facts['load_s'],
             'memory_mb': worker.facts['memory_mb'], 'ways': ways}
    if FIRST in worker.times and NEXT in worker.times:
        found['next_over_first'] = asdict(ratio_of(
            *([one[1] for one in worker.times[way]] for way in (NEXT, FIRST))))
    return found


def _controls(worker: Worker) -> dict[str, Any]:
    """Return whether a planted delay is found, and nothing where nothing was planted."""
    base, same, slow = worker.time(CONTROL, CONTROLS)
    alike, planted = ratio_of(same, base), ratio_of(slow, base)
    return {
        'engine': worker.facts['setup']['engine'], 'planted': PLANTED, 'calls': CONTROLS,
        'same': asdict(alike), 'slower': asdict(planted),
        'found': planted.is_slower and planted.median > 1 + PLANTED / 2,
        'false_alarm': (alike.is_slower or alike.is_faster)
        and abs(alike.median - 1) > PLANTED / 2}
