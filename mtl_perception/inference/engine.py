# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the rest of the package asks of a network, whatever runs it."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mtl_perception.frames import Outputs
from mtl_perception.manifest import Manifest

if TYPE_CHECKING:  # it needs torch, an engine need not
    from mtl_perception.inference.motion_head_file import MotionHead


class Engine(Protocol):
    """
    A network that is loaded and ready.

    It has no memory of its own: what it must remember of a camera is the state that
    :meth:`step` returns, so any number of cameras can share it.

    :ivar manifest: of the model.
    :ivar motion_head: tells motion from residual flow; None if the model has no such head.
    """

    manifest: Manifest
    motion_head: 'MotionHead | None'

    def step(
        self, image: NDArray[np.uint8], state: Any = None, tasks: Collection[str] | None = None,
    ) -> tuple[Outputs, Any]:
        """
        Return the prediction for a frame and the state for the camera's next frame.

        :param image: (height, width, 3) uint8 RGB, at the size that the manifest names.
        :param state: what the previous frame of the same camera returned; None if there is none,
            the previous frame is then taken to equal this one.
        :param tasks: names of the tasks to compute; all if None. The state is the same.
        :raises FrameError: if this frame cannot be computed, but the next one perhaps can.
        :raises DeviceError: if the device is gone.
        """
        ...
