# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of a loaded network, the same for every library that runs it."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mtl_perception.frames import Outputs
from mtl_perception.manifest import Manifest

if TYPE_CHECKING:  # importing it at run time would need torch
    from mtl_perception.inference.motion_head_file import MotionHead


class Engine(Protocol):
    """
    A network that is loaded and ready.

    An engine is stateless: the caller keeps the state that :meth:`step` returns for each camera,
    so any number of cameras can share one engine.

    :ivar manifest: of the model.
    :ivar motion_head: predicts motion from residual flow; None if the model has no such head.
    """

    manifest: Manifest
    motion_head: 'MotionHead | None'

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
