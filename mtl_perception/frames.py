# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What goes into the perception pipeline and what comes out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.tasks import UNKNOWN_MOTION, UNLABELLED

UNKNOWN: Mapping[str, float] = MappingProxyType({
    'semantic': UNLABELLED, 'depth': np.nan, 'motion': UNKNOWN_MOTION, 'motion_score': np.nan,
    'instance': 0, 'semantic_confidence': 0, 'depth_confidence': 0})
"""Map of a :class:`Perception` -> its value where the network saw nothing."""


@dataclass(frozen=True, eq=False)
class Frame:
    """
    One camera image.

    :param camera: name of the camera it came from.
    :param stamp_ns: time of exposure, nanoseconds; any integer, zero included.
    :param image: (H, W, 3) uint8 RGB.
    """

    camera: str
    stamp_ns: int
    image: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Detections:
    """
    The boxes of one image, by falling score.

    :param corners: (B, 4) float32 pixels: x_min, y_min, x_max, y_max, from 0 to width and height.
    :param scores: (B,) float32, probability of an object of the class, 0 to 1; NaN = unknown, as
        in a recording that has the outlines alone.
    :param classes: (B,) uint8 ids of the classes of the detection task.
    """

    corners: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.uint8]

    def likely(self, minimum_score: float) -> 'Detections':
        """Return the boxes of at least this score; one of an unknown score is none of them."""
        kept = self.scores >= minimum_score
        return Detections(self.corners[kept], self.scores[kept], self.classes[kept])


@dataclass(frozen=True, eq=False)
class Outputs:
    """
    What a network predicts for one frame, at the network's resolution (h, w).

    A task that the network does not have, or that was not asked for, is None.

    :param semantic: (h, w) uint8 class ids.
    :param depth: (h, w) float32 metres along Z, finite and positive everywhere.
    :param height_exponent: (h, w) float32, depth goes with the height of the camera to this
        power: 1 on the road, less where the size of a thing tells its distance.
    :param motion: (h, w) uint8, 0 static, 1 moving.
    :param motion_score: (h, w) float32, probability of moving, 0 to 1.
    :param sky: (h, w) bool, where the semantics are certain of sky.
    :param instance: (2, h, w) float32 pixels from each pixel to the centroid of its object, x and
        y.
    :param detection: boxes in pixels of the network's input.
    :param objects: (h, w) uint16, which object each pixel belongs to, 0 = none; takes the place of
        ``instance`` where several tiles were joined.
    :param semantic_confidence: (h, w) float32, probability of the class, 0 to 1.
    :param depth_confidence: (h, w) float32, probability that depth is within a factor of 1.25.
    """

    semantic: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None
    motion: NDArray[np.uint8] | None = None
    motion_score: NDArray[np.float32] | None = None
    sky: NDArray[np.bool_] | None = None
    instance: NDArray[np.float32] | None = None
    detection: Detections | None = None
    objects: NDArray[np.uint16] | None = None
    semantic_confidence: NDArray[np.float32] | None = None
    depth_confidence: NDArray[np.float32] | None = None
    height_exponent: NDArray[np.float32] | None = None


def rotation_of_quaternion(quaternion: Sequence[float]) -> NDArray[np.float64]:
    """
    Return the (3, 3) rotation of a quaternion.

    :param quaternion: x, y, z, w, of any length but 0.
    """
    x, y, z, w = np.asarray(quaternion, np.float64) / np.linalg.norm(quaternion)

    # R = I + 2 w [v]x + 2 [v]x [v]x with v = (x, y, z), multiplied out.
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]])


@dataclass(frozen=True, eq=False)
class Step:
    """
    How a camera moved since the previous frame.

    :param pose: (4, 4) float64 from this camera's axes (x right, y down, z ahead) to those of the
        previous frame; its last column is the place of this camera in those axes, metres.
    :param seconds: between the two frames.
    """

    pose: NDArray[np.float64]
    seconds: float

    def velocity(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return velocity in m/s and turn rate in rad/s, each (3,) in this camera's axes."""
        turn = self.pose[:3, :3]

        # Of a rotation by an angle a about the unit vector u, (R - R^T) / 2 = sin(a) [u]x and
        # trace(R) = 1 + 2 cos(a).
        axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0],
                         turn[1, 0] - turn[0, 1]]) / 2
        sine = float(np.linalg.norm(axis))
        cosine = (float(np.trace(turn)) - 1) / 2
        angle = float(np.arctan2(sine, cosine))

        rate = axis * (angle / sine if sine > 1e-12 else 1.0) / self.seconds
        return turn.T @ self.pose[:3, 3] / self.seconds, rate


@dataclass(frozen=True, eq=False)
class Objects:
    """
    The N objects of movable classes in one frame, which have been seen in earlier ones.

    :param ids: (N,) uint32, positive; the same object has the same id in every frame.
    :param classes: (N,) uint8 class ids of the semantic task.
    :param scores: (N,) float32, mean probability of the class in its pixels; NaN = unknown.
    :param moving: (N,) uint8, 0 static, 1 moving, 255 unknown.
    :param positions: (N, 3) float32 metres, the middle of what is seen in the optical frame.
    :param velocities: (N, 3) float32 m/s over the world, in the axes of the optical frame; 0 of
        what stands; NaN = unknown, as where the ego-motion is not believed.
    :param mask: (h, w) uint32, the id of each pixel at the network's resolution, 0 = none.
    """

    ids: NDArray[np.uint32]
    classes: NDArray[np.uint8]
    scores: NDArray[np.float32]
    moving: NDArray[np.uint8]
    positions: NDArray[np.float32]
    velocities: NDArray[np.float32]
    mask: NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Perception:
    """
    What the pipeline returns for one frame, at the size that the consumer asked for (H, W).

    :param semantic: (H, W) uint8 class ids, 255 = unlabelled.
    :param depth: (H, W) float32 metres along Z; NaN = invalid, +Inf = beyond range or sky.
    :param motion: (H, W) uint8, 0 static, 1 moving, 255 unknown, as without a previous frame.
    :param motion_score: (H, W) float32, probability of moving; NaN = unknown.
    :param instance: (H, W) uint16, 0 = no object; ids are not tracked from frame to frame.
    :param detection: boxes in pixels of the size that was asked for.
    :param residual: (h, w, 2) float32 pixels at the network's size: the flow to an earlier frame
        that the camera's own motion does not explain; None if nothing moves or the network itself
        predicts motion.
    :param step: how the camera moved; None if motion was not asked for or the estimate is
        unreliable.
    :param semantic_confidence: (H, W) float32, probability that the class is right, 0 to 1;
        0 = unknown. None unless it was asked for by name.
    :param depth_confidence: (H, W) float32, probability that depth is within a factor of 1.25,
        and in the sky that it is sky; 0 = unknown. None unless it was asked for by name.
    :param objects: in time, with ids that hold. None unless they were asked for by name.
    """

    semantic: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None
    motion: NDArray[np.uint8] | None = None
    motion_score: NDArray[np.float32] | None = None
    instance: NDArray[np.uint16] | None = None
    detection: Detections | None = None
    residual: NDArray[np.float32] | None = None
    step: Step | None = None
    semantic_confidence: NDArray[np.float32] | None = None
    depth_confidence: NDArray[np.float32] | None = None
    objects: Objects | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """The size (H, W) of its maps, None if it has boxes alone."""
        return _size(self.semantic, self.depth, self.motion, self.instance)


@dataclass(frozen=True, eq=False)
class TrueBoxes:
    """
    The ground-truth boxes of one image.

    :param corners: (M, 4) float32 pixels: x_min, y_min, x_max, y_max.
    :param classes: (M,) integer ids of the classes of the detection task.
    :param difficult: (M,) bool, boxes that need not be detected.
    """

    corners: NDArray[np.float32]
    classes: NDArray[np.integer[Any]]
    difficult: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Truth:
    """
    The ground truth of one frame, at its own size (H, W); a task without labels is None.

    :param semantic: (H, W) uint8 class ids, 255 = unlabelled.
    :param depth: (H, W) floating metres; NaN, Inf and 0 are not evaluated.
    :param motion: (H, W) uint8, 255 = unknown.
    :param instance: (H, W) integer ids of objects, 0 = none, negative = unknown.
    :param detection: boxes in pixels of that size.
    """

    semantic: NDArray[np.uint8] | None = None
    depth: NDArray[np.floating[Any]] | None = None
    motion: NDArray[np.uint8] | None = None
    instance: NDArray[np.integer[Any]] | None = None
    detection: TrueBoxes | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """The size (H, W) of its maps, None if it has boxes alone."""
        return _size(self.semantic, self.depth, self.motion, self.instance)


@dataclass(frozen=True, eq=False)
class FrameRecord:
    """
    One frame with everything that is known about it, as a recording holds it.

    :param stamp_ns: time of exposure, nanoseconds.
    :param image: (H, W, 3) uint8 RGB; None if the recording lacks it.
    :param prediction: None if there is none.
    :param truth: None if there is none.
    :param received_ns: when the recorder had received the whole prediction, nanoseconds; None if
        that is unknown.
    """

    stamp_ns: int
    image: NDArray[np.uint8] | None
    prediction: Perception | None = None
    truth: Truth | None = None
    received_ns: int | None = None

    @property
    def latency_ms(self) -> float | None:
        """Time from exposure until the recorder had the whole prediction, milliseconds."""
        return None if self.received_ns is None else (self.received_ns - self.stamp_ns) / 1e6


def _size(*maps: NDArray[Any] | None) -> tuple[int, int] | None:
    """Return (H, W) of the first map, None if there is none."""
    shape = next((values.shape for values in maps if values is not None), None)
    return None if shape is None else (shape[0], shape[1])
