# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One camera's frames, one after the other, with the state that connects them."""

import collections
import dataclasses
import zlib
from collections.abc import Collection
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError, FrameError
from mtl_perception.frames import Frame, Outputs, Perception
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.motion_head_file import MotionHead
from mtl_perception.inference.moving_objects import MovingObjects, Odometry, pinhole_of
from mtl_perception.postprocessing import to_perception
from mtl_perception.preprocessing import focal_length_at, resize

BACKWARDS_LIMIT = 3
"""So many stamps in a row before the last valid one mean that the camera started again."""


HEIGHT_EXPONENT = 0.7
"""
How depth follows the height of the camera: as (height / height of the training) to this power.

A world twice as large looks the same from twice the height, which would make it 1; but cars,
people and lanes do not grow, and a network knows their sizes too. 0.7 fits the shipped model on
the street. It mends the scale and not what the model has never seen from there: on 20 frames for
each height the median depth was within 4 % of the truth from 0.8 to 2.0 m, 8 % too large at 2.5 m
and 11 % at 0.5 m, and the mean error grew to the double at 2.0 m and to the triple at 0.5 m.
"""


class CameraStream:
    """
    Process the frames of one camera and decide how long its temporal state is valid.

    A network of two frames compares with the previous frame. Where that is not the frame shortly
    before this one, motion is unknown (255) and the masks come from this frame alone:

    - the first frame, and the first after :meth:`reset`;
    - a gap longer than ``max_gap_s``, or another resolution: the state starts anew;
    - a stamp before the last one: the state is kept, the frame leaves no trace; the third in a row
      starts anew;
    - a stamp that repeats: dropped if the image repeats too, else as with a stamp before;
    - a stamp of zero: the state is dropped.

    Not safe to use from several threads; each camera has its own.

    :param engine: the network, may be shared between cameras.
    :param max_gap_s: longest time between two frames that may be compared, seconds.
    :param camera_height: of this camera above the ground, metres; scales depth, see
        :data:`HEIGHT_EXPONENT`. 0 = that of the training camera.
    :param motion_head: of the model if it has one: motion is then told from the flow that the
        camera's own motion leaves, see :class:`MovingObjects`.
    """

    def __init__(
        self, engine: Engine, max_gap_s: float = 0.5, camera_height: float = 0.0,
        motion_head: MotionHead | None = None,
    ) -> None:
        if not max_gap_s > 0:
            raise ValueError(f'max_gap_s is {max_gap_s}; it must be a positive time')
        if not 0 <= camera_height < np.inf:
            raise ValueError(
                f'camera_height is {camera_height}; it must be metres, 0 = that of training')
        self.engine = engine
        self.max_gap_s = max_gap_s
        trained = engine.manifest.camera_height if camera_height else 0.0
        if camera_height and not trained:
            raise ConfigurationError(
                f'camera_height is {camera_height:g} m, but model {engine.manifest.name!r} does '
                'not say at which height it was trained; export it again, or leave the height 0')
        self.height_scale = (camera_height / trained) ** HEIGHT_EXPONENT if trained else 1.0
        """Factor on depth that the height of the camera asks for."""
        self.resets: collections.Counter[str] = collections.Counter()
        """How often the temporal state started anew, by reason."""
        self.warnings: collections.Counter[str] = collections.Counter()
        """How many frames were processed in spite of an odd stamp, by code."""
        self.moving = None if motion_head is None else MovingObjects(
            motion_head, engine.manifest, max_gap_s)
        """Tells what moves if the model has a head for it; else the network does."""
        self._pending = 'first'
        self._has_previous = False
        self._state: Any = None
        self._stamp_ns = 0
        self._shape: tuple[int, ...] = ()
        self._checksum = 0
        self._backwards = 0

    def reset(self, reason: str) -> None:
        """
        Drop the temporal state.

        :param reason: under which it is counted, such as ``time_jump``.
        """
        self.resets[reason] += 1
        self._forget()
        if self.moving is not None:
            self.moving.reset()

    def process(
        self, frame: Frame, tasks: Collection[str] | None = None,
        output_size: Literal['camera', 'network'] = 'camera', focal_px: float | None = None,
        odometry: Odometry | None = None,
    ) -> Perception:
        """
        Return what the network says about a frame.

        :param frame: of this camera.
        :param tasks: names of the tasks that are wanted, and ``step`` for the camera's own motion
            of a model with a motion head; all if None.
        :param output_size: whether the results have the camera's or the network's size.
        :param focal_px: focal length of the camera at the camera's size, pixels; scales depth.
            Where the image is resized to other proportions, its height counts: how far away the
            ground is, and how large things are that stand on it, is seen along the columns.
            None or an impossible value leaves depth as the training camera would see it.
        :param odometry: tells how the camera moved, if the robot knows; else it is estimated.
        :raises FrameError: ``T02_duplicate``, ``M09_nonfinite``, ``M10_output``, or what the
            engine raises; the temporal state is not changed by a frame that was dropped.
        :raises ValueError: if the image is not RGB, or a task or an output size does not exist.
        """
        manifest = self.engine.manifest
        if output_size not in ('camera', 'network'):
            raise ValueError(f"output_size is {output_size!r}; it must be 'camera' or 'network'")
        if frame.image.ndim != 3 or frame.image.shape[2] != 3 or frame.image.dtype != np.uint8:
            raise ValueError(
                f'the image is {frame.image.dtype} {frame.image.shape}, wanted uint8 (H, W, 3)')
        image = resize(frame.image, manifest.height, manifest.width)
        checksum = zlib.crc32(np.ascontiguousarray(image).data)
        odd = self._odd_stamp(frame, checksum)
        reason = '' if odd else self._reason_to_start_anew(frame)
        state = None if odd or reason else self._state
        outputs, following = self.engine.step(image, state, self._needed(tasks))
        self._check(outputs)
        if reason:
            self.resets[reason] += 1
        if odd:
            self._note_odd(odd)
        else:
            self._forget()
            self._has_previous, self._state = True, following
            self._stamp_ns, self._shape, self._checksum = (
                frame.stamp_ns, frame.image.shape, checksum)
        height, width = frame.image.shape[:2]
        known = manifest.network.frames == 1 or state is not None
        scale = self.height_scale
        if focal_px is not None and np.isfinite(focal_px) and focal_px > 0:
            own = manifest.focal_y_px or manifest.focal_px
            scale *= focal_length_at(focal_px, height, manifest.height) / own
        step = residual = None
        if self.moving is not None and (tasks is None or {'motion', 'step'} & {*tasks}):
            camera = pinhole_of(focal_px, frame.image.shape, image.shape)
            if camera is None:
                self.warnings['I21_no_intrinsics'] += 1
            moving = self.moving.process(
                image, 0 if odd else frame.stamp_ns, outputs, camera, scale, odometry)
            outputs, known, step = moving.outputs, not moving.reason, moving.step
            if known and moving.comparison is not None and np.any(outputs.motion):
                residual = moving.comparison.residual()
        if output_size == 'network':
            height, width = manifest.height, manifest.width
        perception = to_perception(
            outputs, manifest, height, width, depth_scale=scale,
            motion_known=known)
        perception = dataclasses.replace(perception, residual=residual, step=step)
        if tasks is not None and 'semantic' not in tasks:
            perception = dataclasses.replace(perception, semantic=None)
        if tasks is not None and 'depth' not in tasks:
            perception = dataclasses.replace(perception, depth=None)
        return perception

    def _needed(self, tasks: Collection[str] | None) -> Collection[str] | None:
        """
        Return the tasks to compute.

        Depth without semantics would not know the sky, instances not what the objects are.
        """
        semantic = self.engine.manifest.task('semantic')
        if self.moving is not None:  # instead of the network's own head for motion
            wanted = {task.name for task in self.engine.manifest.tasks} if tasks is None else tasks
            needed = {'semantic', 'depth'} if {'motion', 'step'} & {*wanted} else set()
            tasks = ({*wanted} - {'motion', 'step'}) | needed
        if tasks is None or semantic is None:
            return tasks
        if 'instance' in tasks or ('depth' in tasks and semantic.sky >= 0):
            return {*tasks, 'semantic'}
        return tasks

    def _forget(self) -> None:
        """Drop the temporal state."""
        self._pending, self._has_previous, self._state, self._backwards = '', False, None, 0

    def _odd_stamp(self, frame: Frame, checksum: int) -> str:
        """
        Return the code of a stamp that does not follow the last one, empty if it does.

        :raises FrameError: ``T02_duplicate`` if stamp and image are those of the last frame.
        """
        if frame.stamp_ns == 0:
            return 'T04_zero_stamp'
        if not self._has_previous or frame.stamp_ns > self._stamp_ns:
            return ''
        if frame.stamp_ns == self._stamp_ns:
            if checksum == self._checksum:
                raise FrameError(
                    f'stamp {frame.stamp_ns} ns and image are those of the frame before; is there '
                    'a second publisher, or is one message sent twice?', 'T02_duplicate')
            return 'T02_duplicate'
        return 'T01_backwards' if self._backwards + 1 < BACKWARDS_LIMIT else ''

    def _reason_to_start_anew(self, frame: Frame) -> str:
        """Return why the state does not fit a frame, empty if it does or is missing anyway."""
        if not self._has_previous:
            return self._pending
        if frame.stamp_ns < self._stamp_ns:
            return 'backwards'
        if frame.image.shape != self._shape:
            return 'resolution'
        return 'gap' if frame.stamp_ns - self._stamp_ns > self.max_gap_s * 1e9 else ''

    def _note_odd(self, code: str) -> None:
        """Count a frame with an odd stamp."""
        self.warnings[code] += 1
        if code == 'T01_backwards':
            self._backwards += 1
        elif code == 'T04_zero_stamp':
            self._forget()

    def _check(self, outputs: Outputs) -> None:
        """
        Refuse what a network cannot have said.

        :raises FrameError: ``M09_nonfinite`` or ``M10_output``.
        """
        manifest = self.engine.manifest
        for task, dtype in (('semantic', np.uint8), ('depth', np.float32), ('motion', np.uint8),
                            ('motion_score', np.float32)):
            values: NDArray[Any] | None = getattr(outputs, task)
            if values is None:
                continue
            if values.shape != (manifest.height, manifest.width) or values.dtype != dtype:
                raise FrameError(
                    f'{task} is {values.dtype} {values.shape}, wanted {np.dtype(dtype)} '
                    f'{(manifest.height, manifest.width)}', 'M10_output')
            known = manifest.task(task)
            if known is not None and known.kind == 'classes' and values.max() >= known.channels:
                raise FrameError(
                    f'{task} has the id {values.max()}, wanted less than {known.channels}',
                    'M10_output')
            if values.dtype == np.float32 and not np.isfinite(values).any():
                raise FrameError(f'{task} has no finite value', 'M09_nonfinite')
        self._check_objects(outputs)

    def _check_objects(self, outputs: Outputs) -> None:
        """
        Refuse vectors and boxes that cannot be.

        :raises FrameError: ``M09_nonfinite`` or ``M10_output``.
        """
        manifest, offset, found = self.engine.manifest, outputs.offset, outputs.detections
        if offset is not None:
            wanted = (2, manifest.height, manifest.width)
            if offset.shape != wanted or offset.dtype != np.float32:
                raise FrameError(
                    f'instance is {offset.dtype} {offset.shape}, wanted float32 {wanted}',
                    'M10_output')
            if not np.isfinite(offset).any():
                raise FrameError('instance has no finite value', 'M09_nonfinite')
        if found is None:
            return
        count = len(found.scores)
        if found.corners.shape != (count, 4) or found.classes.shape != (count,):
            raise FrameError(
                f'detection has corners of shape {found.corners.shape} and classes of shape '
                f'{found.classes.shape} for {count} scores', 'M10_output')
        if not (np.isfinite(found.corners).all() and np.isfinite(found.scores).all()):
            raise FrameError('detection has numbers that are not finite', 'M09_nonfinite')
        task = manifest.task('detection')
        if count and task is not None and found.classes.max() >= task.channels:
            raise FrameError(
                f'detection has the class {found.classes.max()}, wanted less than '
                f'{task.channels}', 'M10_output')
