# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of a loaded network, the same for every library that runs it."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError, DeviceError
from mtl_perception.frames import Outputs
from mtl_perception.manifest import Manifest
from mtl_perception.parallel import cpu_count
from mtl_perception.reason_codes import ReasonCode

COSTLY = frozenset({'instance', 'detection'})
"""Tasks whose heads take much of the time of a step; engines make them ready when asked."""
MINIMUM_SCORE = 0.3
"""Lowest score of a box by default."""
PRECISIONS = ('auto', 'fp32', 'bf16', 'fp16', 'int8')
"""Settings of a precision; auto is one of the others, see
:mod:`mtl_perception.inference.precision`."""


@dataclass(frozen=True)
class Setup:
    """
    What really runs a network, after every ``auto`` has been decided.

    :param engine: ``torch``, ``onnx`` or ``openvino``.
    :param version: of the library.
    :param device: where the network runs.
    :param precision: number format of its convolutions.
    :param threads: CPU threads.
    :param accuracy: below fp32, what the precision costs, in words; empty in fp32.
    :param choice: why ``auto`` took this engine, in words; empty if it was named.
    """

    engine: str
    version: str
    device: str
    precision: str
    threads: int
    accuracy: str = ''
    choice: str = ''

    def facts(self) -> dict[str, str]:
        """Return everything as text, for diagnostics."""
        return {name: str(value) for name, value in dataclasses.asdict(self).items()
                if value != ''}

    @property
    def what(self) -> str:
        """What runs, in words, without why."""
        return (f'{self.engine} {self.version} on {self.device}, {self.precision}, '
                f'{self.threads} CPU thread(s)'
                + (f'; {self.precision}: {self.accuracy}' if self.accuracy else ''))

    def __str__(self) -> str:
        return self.what + (f'; {self.choice}' if self.choice else '')


class MotionScorer(Protocol):
    """A motion head that is loaded and ready."""

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Return the probability of motion in each pixel.

        :param features: (C, h, w) float32 of
            :func:`~mtl_perception.egomotion.residual.motion_features`.
        :return: (h, w) float32, 0 to 1.
        """
        ...


class Engine(Protocol):
    """
    A network that is loaded and ready.

    An engine is stateless: the caller keeps the state that :meth:`step` returns for each camera,
    so any number of cameras can share one engine, each in a thread of its own if it likes.

    :ivar manifest: of the model.
    :ivar motion_head: predicts motion from residual flow; None if the model has no such head.
    :ivar setup: what really runs the network.
    """

    manifest: Manifest
    motion_head: MotionScorer | None
    setup: Setup

    def step(
        self, image: NDArray[np.uint8], state: Any = None, tasks: Collection[str] | None = None,
    ) -> tuple[Outputs, Any]:
        """
        Return the prediction for a frame and the state for the camera's next frame.

        :param image: (height, width, 3) uint8 RGB, at the size that the manifest names.
        :param state: returned for the previous frame of the same camera; None for the first one,
            which is then its own previous frame.
        :param tasks: names of the tasks to compute; all if None. The state is the same.
        :raises FrameError: if this frame cannot be processed; the next one may succeed.
        :raises DeviceError: if the device was lost.
        """
        ...


def check_image(image: NDArray[Any], manifest: Manifest) -> None:
    """
    Refuse an image that the network does not take.

    :raises ValueError: with what was found and wanted.
    """
    wanted = (manifest.height, manifest.width, 3)
    if image.shape != wanted or image.dtype != np.uint8:
        raise ValueError(
            f'the image is {image.dtype} {image.shape}, the network takes uint8 {wanted}')


def check_precision(precision: str, wanted: Collection[str], where: str) -> None:
    """
    Refuse a precision that does not exist, or that an engine does not have on a device.

    :param precision: as asked for.
    :param wanted: what the engine has there.
    :param where: engine and device, for the message.
    :raises ConfigurationError: if there is no such precision.
    :raises DeviceError: if the engine does not have it there.
    """
    if precision not in PRECISIONS[1:]:
        raise ConfigurationError(
            f'precision is {precision!r}; it must be one of {list(PRECISIONS)}')
    if precision not in wanted:
        raise DeviceError(
            f'{precision} is not what {where} has: {", ".join(wanted)}; of the others, torch has '
            'bf16 and, on CUDA, fp16, openvino bf16 and int8 on the CPU, onnx fp16 on device '
            'tensorrt', ReasonCode.DEVICE_MISSING)


def threads_of(threads: int) -> int:
    """
    Return how many CPU threads a network gets.

    :param threads: as asked for; 0 is one less than there are CPUs, which leaves one to the rest
        of the node.
    :raises ConfigurationError: if the number is negative.
    """
    if threads < 0:
        raise ConfigurationError(f'threads is {threads}; it must be 0 (automatic) or more')
    return threads or max(1, cpu_count() - 1)


def warm_up(engine: Engine, steps: int = 2) -> None:
    """
    Run a network on a grey image, so that the first frame is as fast as the others.

    Costly heads are left out: few ask for them.

    :param steps: how many; the second one has a state, which a network of one frame does not.
    """
    manifest = engine.manifest
    tasks = [task for task in manifest.network.channels if task not in COSTLY] or None
    image = np.full((manifest.height, manifest.width, 3), 127, np.uint8)
    state = None
    for _ in range(steps):
        _, state = engine.step(image, state, tasks)
