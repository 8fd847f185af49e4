# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the metres of a stream stand on: the camera's height above the road, or the odometry."""

import collections
import dataclasses
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion import MotionEstimator, Pinhole
from mtl_perception.egomotion.ground import camera_above_ground
from mtl_perception.egomotion.scale import depth_scale
from mtl_perception.egomotion.static import of_classes, static_pixels, textured_pixels
from mtl_perception.errors import ConfigurationError
from mtl_perception.frames import Outputs
from mtl_perception.inference.moving_objects import Odometry
from mtl_perception.manifest import Manifest
from mtl_perception.tasks import Task

DepthScale = Literal['network', 'height', 'odometry']
SCALES: tuple[DepthScale, ...] = ('network', 'height', 'odometry')

WINDOW = 15
"""The factor is the median of this many measurements."""
PATIENCE_S = 5.0
"""Without a measurement for longer, the depth is not anchored any more."""
LARGEST_FACTOR = 5.0
"""A factor beyond this, or below its inverse, is not believed."""
SHORTEST_M = 0.3
"""No scale is measured over a shorter way: its parallax is lost in the noise of the flow."""
LONGEST_S = 5.0
"""Frames farther apart are not compared."""
STANDS_M_S = 0.05
"""A camera that is slower, m/s, stands: what was measured holds on."""
ROADS = {'road', 'road_marking', 'lane_marking'}
"""Names of the classes that lie in the plane of the road."""


class Measurement(Protocol):
    """
    Measures the factor on the depth of a frame.

    :ivar stands: whether nothing can be measured because the camera stands.
    :ivar needs_time: whether frames without a stamp cannot be measured.
    """

    stands: bool
    needs_time: bool

    def measure(
        self, image: NDArray[np.uint8], stamp_ns: int, depth: NDArray[np.float32],
        semantic: NDArray[np.uint8], camera: Pinhole, odometry: Odometry | None,
    ) -> float | None:
        """Return the factor of a frame, None if it cannot be measured."""

    def forget(self) -> None:
        """Forget earlier frames."""


class RoadHeight:
    """
    The factor that puts the road as far below the camera as it is.

    :param height: of the camera above the road, metres.
    :param semantic: classes of the network.
    """

    needs_time = False

    def __init__(self, height: float, semantic: Task) -> None:
        self.stands = False
        self.height = height
        """Metres; 0 as long as nobody told it."""
        self._road = [number for number, name in enumerate(semantic.classes)
                      if name.lower().replace(' ', '_') in ROADS]
        if not self._road:
            raise ConfigurationError(
                "depth.scale is 'height', but the model has no class for the road, only "
                f"{list(semantic.classes)}; use 'network' or 'odometry'")

    def measure(
        self, image: NDArray[np.uint8], stamp_ns: int, depth: NDArray[np.float32],
        semantic: NDArray[np.uint8], camera: Pinhole, odometry: Odometry | None,
    ) -> float | None:
        """Return told height / height in the depth, None if too little road is seen."""
        if not self.height:
            return None
        found = camera_above_ground(depth, of_classes(semantic, self._road), camera)
        return None if found is None else self.height / found

    def forget(self) -> None:
        """Do nothing: a frame is measured by itself."""


class OdometryTravel:
    """
    The factor that makes the flow of what stands still agree with the way of the robot.

    :param semantic: classes of the network.
    """

    needs_time = True

    def __init__(self, semantic: Task) -> None:
        self.stands = False
        self._semantic = semantic
        self._camera: Pinhole | None = None
        self._last_ns = 0
        self._key: tuple[int, NDArray[np.uint8]] | None = None
        self._pose = np.eye(4)

    def forget(self) -> None:
        """Forget earlier frames."""
        self._key = None

    def measure(
        self, image: NDArray[np.uint8], stamp_ns: int, depth: NDArray[np.float32],
        semantic: NDArray[np.uint8], camera: Pinhole, odometry: Odometry | None,
    ) -> float | None:
        """Return the factor by the parallax since an earlier frame, None with too little."""
        self.stands = False
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        key, last_ns = self._key, self._last_ns

        step = None
        if key is not None and odometry is not None and self._camera == camera:
            step = odometry(last_ns, stamp_ns)
        self._last_ns = stamp_ns
        self._camera = camera
        if key is None or step is None:
            self._start(stamp_ns, grey)
            return None

        # Slow motion adds up until it can be seen, in frames that are near enough in time.
        self._pose = self._pose @ step
        too_short = float(np.linalg.norm(self._pose[:3, 3])) < SHORTEST_M
        if too_short:
            seconds = (stamp_ns - last_ns) * 1e-9
            self.stands = float(np.linalg.norm(step[:3, 3])) < STANDS_M_S * seconds
        too_long_ago = stamp_ns - key[0] > LONGEST_S * 1e9
        if too_long_ago:
            self._start(stamp_ns, grey)
        if too_short or too_long_ago:
            return None

        pose = self._pose
        self._start(stamp_ns, grey)
        return self._by_parallax(grey, key[1], depth, semantic, camera, pose)

    def _start(self, stamp_ns: int, grey: NDArray[np.uint8]) -> None:
        """Make a frame the one that later ones are compared with."""
        self._key = stamp_ns, grey
        self._pose = np.eye(4)

    def _by_parallax(
        self, grey: NDArray[np.uint8], earlier: NDArray[np.uint8], depth: NDArray[np.float32],
        semantic: NDArray[np.uint8], camera: Pinhole, pose: NDArray[np.float64],
    ) -> float | None:
        """Return the factor on depth that explains the flow since an earlier frame."""
        static = static_pixels(
            semantic, self._semantic.movable, self._semantic.sky) & np.isfinite(depth)
        flow = MotionEstimator(camera, 'full').estimate(
            grey, earlier, depth, textured_pixels(grey, static), pose, keep_flow=True).flow
        assert flow is not None  # it was kept
        return depth_scale(depth, flow, static, pose, camera)


class DepthAnchor:
    """
    The factor on the depth of one camera, measured in every frame and held steady.

    It is the median of the last measurements. Where none can be made, the last one counts on;
    after :data:`PATIENCE_S` the depth is not :attr:`anchored` any more, as before the first one.

    :param kind: what it is measured by.
    :param height: of the camera above the road, metres.
    :param manifest: of the model.
    :param height_follows: whether :meth:`use_height` will tell the height.
    :raises ConfigurationError: if the model lacks what is needed, or the height was not told.
    """

    def __init__(
        self, kind: Literal['height', 'odometry'], height: float, manifest: Manifest,
        height_follows: bool = False,
    ) -> None:
        semantic = manifest.task('semantic')
        if semantic is None or manifest.task('depth') is None:
            raise ConfigurationError(
                f'depth.scale is {kind!r}, which takes semantics and depth; model '
                f'{manifest.name!r} has {[task.name for task in manifest.tasks]}; use "network"')
        if kind == 'height' and not height and not height_follows:
            raise ConfigurationError(
                "depth.scale is 'height', but the height of the camera above the road is not "
                'told; set depth.camera_height (--camera-height) to it')

        self.anchored = False
        """Whether the factor was measured not long ago."""
        self._measurement: Measurement = (
            RoadHeight(height, semantic) if kind == 'height' else OdometryTravel(semantic))
        self._logarithms: collections.deque[float] = collections.deque(maxlen=WINDOW)
        self._measured_ns = 0

    @property
    def factor(self) -> float:
        """Factor on the depth, 1 before the first measurement."""
        return float(np.exp(np.median(self._logarithms))) if self._logarithms else 1.0

    def use_height(self, height: float) -> None:
        """Measure against another height of the camera above the road, metres; 0 = unknown."""
        if isinstance(self._measurement, RoadHeight):
            # what was measured stands on the height before
            if not height:
                self.forget()
            elif self._measurement.height:
                change = float(np.log(height / self._measurement.height))
                self._logarithms = collections.deque(
                    (one + change for one in self._logarithms), maxlen=WINDOW)
            self._measurement.height = height

    def forget(self) -> None:
        """Forget everything: what comes is another camera or another drive."""
        self._logarithms.clear()
        self._measurement.forget()
        self._measured_ns = 0
        self.anchored = False

    def update(
        self, image: NDArray[np.uint8], stamp_ns: int, depth: NDArray[np.float32],
        semantic: NDArray[np.uint8], camera: Pinhole, odometry: Odometry | None = None,
    ) -> float:
        """
        Measure a frame and return the factor on its depth.

        :param image: (h, w, 3) uint8 RGB at the network's size.
        :param stamp_ns: time of exposure, nanoseconds; one not after the last forgets that.
            0 = unknown: a height is measured all the same, a way is not.
        :param depth: (h, w) float32 metres, without the factor.
        :param semantic: (h, w) uint8 class ids.
        :param camera: at the network's size.
        :param odometry: tells how the camera moved.
        """
        if not stamp_ns and self._measurement.needs_time:
            return self.factor
        if 0 < stamp_ns <= self._measured_ns:
            self.forget()

        factor = self.factor
        found = self._measurement.measure(
            image, stamp_ns, depth * np.float32(factor), semantic, camera, odometry)
        measured = found is not None and 1 / LARGEST_FACTOR < found * factor < LARGEST_FACTOR
        if found is not None and measured:
            self._logarithms.append(float(np.log(found * factor)))
        if measured or (self._measurement.stands and self.anchored):
            self._measured_ns = max(self._measured_ns, stamp_ns)

        # Without a time nobody knows how old the last measurement is.
        recent = stamp_ns - self._measured_ns <= PATIENCE_S * 1e9 if stamp_ns else measured
        self.anchored = bool(self._logarithms) and recent
        return self.factor


def height_ratio(manifest: Manifest, camera_height: float, kind: DepthScale) -> float:
    """
    Return the height of the camera over that of the training; 1 if either is not known.

    :param manifest: of the model.
    :param camera_height: above the ground, metres; 0 = that of the training.
    :param kind: what the metres stand on.
    :raises ConfigurationError: if the model does not know the height that it was trained at.
    """
    if not camera_height:
        return 1.0
    if not manifest.camera_height:
        if kind != 'network':
            return 1.0
        raise ConfigurationError(
            f'camera_height is {camera_height:g} m, but model {manifest.name!r} does '
            'not say at which height it was trained; export it again, or leave the height 0')
    return camera_height / manifest.camera_height


def told_height(outputs: Outputs, manifest: Manifest, ratio: float) -> Outputs:
    """
    Return the outputs with depth for another height of the camera than that of the training.

    d(h) = d(h0) (h / h0)^e, with the exponent e of each pixel where the network tells it, else
    that of the manifest.

    :param outputs: of the network.
    :param manifest: of the network.
    :param ratio: h / h0, of :func:`height_ratio`.
    """
    if outputs.depth is None or ratio == 1:
        return outputs
    exponent = outputs.height_exponent
    if exponent is None:
        factor: Any = np.float32(ratio ** manifest.height_exponent)
    else:
        factor = np.exp(np.float32(np.log(ratio)) * exponent)
    return dataclasses.replace(outputs, depth=outputs.depth * factor)
