# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
One engine in a process of its own: libraries disturb one another within one process.

The first line of the standard input is a :class:`Job` as JSON. The worker loads the model and
answers with one line of JSON: ``setup``, ``load_s``, ``memory_mb`` and ``ways``, or ``error``.
Each further line is the name of a way, or of the control, and how often to do it; the answer is a
list of wall and CPU times in milliseconds. The end of the input ends the process.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mtl_perception.errors import PerceptionError
from mtl_perception.evaluation.benchmark.frames import (
    Image,
    forth_and_back,
    load_images,
    parse_size,
)
from mtl_perception.evaluation.benchmark.memory import private_mb
from mtl_perception.evaluation.benchmark.timing import time_call
from mtl_perception.frames import Frame
from mtl_perception.inference.engine import Engine, threads_of
from mtl_perception.inference.engines import load_engine
from mtl_perception.inference.stream import CameraStream

USUAL = 'usual'
"""Name of :mod:`mtl_perception.inference.usual_pattern` among the engines."""
FIRST, NEXT = 'first frame', 'next frame'
"""A step of the network without and with what it remembers of the frame before."""
CONTROL = 'control'
PLANTED = 0.10
"""By how much the control makes a step slower, as a share of it."""
STEP_NS = 100_000_000
"""Between two frames."""

Ways = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Job:
    """
    What a worker runs.

    :param model: name or path of it.
    :param engine: ``torch``, ``onnx``, ``openvino`` or ``usual``.
    :param device: that is asked for.
    :param precision: that is asked for.
    :param threads: CPU threads.
    :param images: file of the images.
    :param focal_px: focal length as a share of the width.
    :param cameras: sizes of camera images, such as ``640x480``.
    """

    model: str
    engine: str
    device: str
    precision: str
    threads: int
    images: str
    focal_px: float
    cameras: Sequence[str]


def frame_way(width: int, height: int, motion: bool) -> str:
    """Return the name of a whole frame from a camera of a size."""
    return f'camera {width}x{height}' + (', motion' if motion else '')


def engine_ways(engine: Engine, job: Job) -> Ways:
    """
    Return what is timed of an engine.

    The network by itself at its own size, and whole frames from cameras: resize, network, and maps
    at the camera's size, without and with motion.
    """
    manifest = engine.manifest
    images_of = load_images(Path(job.images))
    own = images_of[manifest.width, manifest.height]
    numbers = forth_and_back(len(own))
    state: Any = engine.step(own[0])[1]

    def following() -> None:
        nonlocal state
        _, state = engine.step(own[next(numbers)], state)

    ways: Ways = {FIRST: lambda: engine.step(own[next(numbers)])}
    if manifest.network.frames > 1:
        ways[NEXT] = following

    names = [task.name for task in manifest.tasks]
    for width, height in map(parse_size, job.cameras):
        focal = job.focal_px * width
        images = images_of[width, height]
        still = [name for name in names if name != 'motion']
        ways[frame_way(width, height, False)] = _whole(engine, images, still, focal)
        if 'motion' in names:
            ways[frame_way(width, height, True)] = _whole(engine, images, names, focal)
    return ways


def _whole(
    engine: Engine, images: list[Image], tasks: list[str], focal_px: float,
) -> Callable[[], object]:
    """Return what processes the next frame of a camera."""
    stream = CameraStream(engine)
    frames = _frames(images)
    return lambda: stream.process(next(frames), tasks, focal_px=focal_px)


def _frames(images: list[Image]) -> Iterator[Frame]:
    """Yield frames with stamps that never end."""
    for index, number in enumerate(forth_and_back(len(images)), 1):
        yield Frame('benchmark', index * STEP_NS, images[number])


def usual_ways(job: Job) -> tuple[Ways, dict[str, Any]]:
    """Return whole frames in the usual pattern, and what runs them."""
    # torch is wanted here alone
    import torch

    from mtl_perception.inference.usual_pattern import UsualPattern
    threads = threads_of(job.threads)
    pattern = UsualPattern(job.model, job.device, threads)
    ways: Ways = {}
    images_of = load_images(Path(job.images))
    for width, height in map(parse_size, job.cameras):
        images = images_of[width, height]
        numbers = forth_and_back(len(images))

        def whole(images: list[Image] = images, numbers: Iterator[int] = numbers) -> object:
            return pattern(images[next(numbers)])
        ways[frame_way(width, height, 'motion' in pattern.tasks)] = whole

    setup = {'engine': USUAL, 'version': f'torch {torch.__version__}',
             'device': str(pattern.device), 'precision': 'fp32', 'threads': threads}
    return ways, setup


def control_times(step: Callable[[], object], count: int, on_cpu: bool) -> list[list[float]]:
    """
    Time a step, the same step again, and the step with a planted delay, in turn.

    :param step: of an engine.
    :param count: how often.
    :param on_cpu: whether CPU time is compared; else it is wall time.
    :return: the times of the three, milliseconds.
    """
    def compared(call: Callable[[], object]) -> float:
        found = time_call(call)
        return found.cpu_ms if on_cpu else found.wall_ms

    usual = float(np.median([compared(step) for _ in range(5)]))
    clock = time.process_time if on_cpu else time.perf_counter

    def delayed() -> None:
        step()
        end = clock() + PLANTED * usual / 1e3
        while clock() < end:
            pass

    times: list[list[float]] = [[], [], []]
    for _ in range(count):
        for place, call in zip(times, (step, step, delayed)):
            place.append(compared(call))
    return times


def main() -> int:
    """Serve one job."""
    # libraries that print do not disturb the answers
    answers = sys.stdout
    sys.stdout = sys.stderr

    def answer(content: Any) -> None:
        print(json.dumps(content), file=answers, flush=True)

    job = Job(**json.loads(sys.stdin.readline()))
    cv2.setNumThreads(threads_of(job.threads))
    began = time.perf_counter()

    try:
        if job.engine == USUAL:
            ways, setup = usual_ways(job)
            loaded = time.perf_counter() - began
        else:
            engine = load_engine(
                job.model, job.engine, job.device, job.precision, job.threads)
            loaded = time.perf_counter() - began
            ways, setup = engine_ways(engine, job), dataclasses.asdict(engine.setup)

        for way in ways.values():
            way()  # its first call allocates

    except (PerceptionError, ImportError) as error:
        answer({'error': str(error)})
        return 0
    answer({'setup': setup, 'load_s': loaded, 'memory_mb': private_mb('self'),
            'ways': list(ways)})

    for line in sys.stdin:
        name, count = json.loads(line)
        if name == CONTROL:
            step = ways.get(NEXT) or ways[FIRST]
            answer(control_times(step, count, setup['device'] == 'cpu'))
            continue

        # the caches belong to what ran before
        ways[name]()
        times = [time_call(ways[name]) for _ in range(count)]
        answer([[one.wall_ms, one.cpu_ms] for one in times])
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
