# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One camera's frames, one after the other, with the state that connects them."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion import Pinhole
from mtl_perception.errors import ConfigurationError
from mtl_perception.frames import Frame, Objects, Outputs, Perception
from mtl_perception.inference.confidence import CONFIDENCES, depth_confidence
from mtl_perception.inference.depth_anchor import (
    SCALES,
    DepthAnchor,
    DepthScale,
    height_ratio,
    told_height,
)
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.fit import SQUEEZED, Fit, Layout
from mtl_perception.inference.joining import join
from mtl_perception.inference.moving_objects import ASSUMED_FOCAL, Moving, MovingObjects, Odometry
from mtl_perception.inference.objects_in_time import OBJECTS, ObjectsInTime, object_tasks
from mtl_perception.inference.output_checks import check_outputs
from mtl_perception.inference.rectification import Rectifier
from mtl_perception.inference.timeline import Link, Timeline
from mtl_perception.manifest import Manifest
from mtl_perception.media.intrinsics import NO_CALIBRATION, Intrinsics, given_focal_length
from mtl_perception.postprocessing import to_perception
from mtl_perception.preprocessing import focal_length_at
from mtl_perception.reason_codes import ReasonCode

MOTION_HEAD_TASKS = {'motion', 'step'}
"""What a motion head predicts: moving objects and the camera's own motion."""


@dataclass(frozen=True)
class StreamSettings:
    """
    Everything that changes what a stream predicts; the node's parameters have the same names.

    :param max_gap_s: longest time between two frames that may be compared, seconds.
    :param camera_height: of this camera above the ground, metres; scales depth, see
        :class:`mtl_perception.manifest.Manifest`. 0 = that of the training camera.
    :param motion_head: ``auto`` takes the model's motion head if it has one, ``network`` the
        network's own decoder.
    :param rectify: ``auto`` turns the images of a lens with strong distortion into those of a
        pinhole before the network, and the answers back; ``off`` never does.
    :param fit: how images of another shape than the network's are brought to it.
    :param depth_scale: what the metres stand on: the ``network`` and what it knows of heights;
        the ``height`` of the camera above the road that it sees; or the ``odometry``. See
        :class:`.DepthAnchor`.
    :param height_follows: whether :meth:`CameraStream.use_camera_height` will tell the height.
    """

    max_gap_s: float = 0.5
    camera_height: float = 0.0
    motion_head: Literal['auto', 'network'] = 'auto'
    rectify: Literal['auto', 'off'] = 'auto'
    fit: Fit = SQUEEZED
    depth_scale: DepthScale = 'network'
    height_follows: bool = False

    def __post_init__(self) -> None:
        if not self.max_gap_s > 0:
            raise ValueError(f'max_gap_s is {self.max_gap_s}; it must be a positive time')
        if not 0 <= self.camera_height < np.inf:
            raise ValueError(
                f'camera_height is {self.camera_height}; it must be metres, 0 = that of training')
        if self.motion_head not in ('auto', 'network'):
            raise ValueError(
                f"motion_head is {self.motion_head!r}; it must be 'auto' or 'network'")
        if self.rectify not in ('auto', 'off'):
            raise ValueError(f"rectify is {self.rectify!r}; it must be 'auto' or 'off'")
        if self.depth_scale not in SCALES:
            raise ValueError(
                f'depth_scale is {self.depth_scale!r}; it must be one of {list(SCALES)}')


class CameraStream:
    """
    Process the frames of one camera and own the temporal state between them.

    A network of two frames compares each frame with the one before. Where :class:`.Timeline` says
    that a frame does not continue the last one, motion is unknown (255) and the masks come from
    this frame alone. The model's motion head, if it has one, follows the same timeline.

    Not safe to use from several threads; each camera needs its own stream.

    :param engine: the network, may be shared between cameras.
    :param settings: the defaults if None.
    :raises ConfigurationError: if a camera height is given and the model does not know its own,
        depth cannot be anchored as it shall, or motion is to come from a decoder that the
        network does not have.
    """

    def __init__(self, engine: Engine, settings: StreamSettings | None = None) -> None:
        settings = settings or StreamSettings()
        self.engine = engine
        self.settings = settings

        # What the metres stand on.
        self.anchor: DepthAnchor | None = None
        """Measures the scale of depth; None if that is left to the network."""
        if settings.depth_scale != 'network':
            self.anchor = DepthAnchor(
                settings.depth_scale, settings.camera_height, engine.manifest,
                settings.height_follows)

        self.height_ratio = height_ratio(
            engine.manifest, settings.camera_height, settings.depth_scale)
        """Height of the camera over that of the training."""
        self._timeline = Timeline(settings.max_gap_s)
        self.resets = self._timeline.resets
        """How often the temporal state restarted, by reason."""
        self.warnings = self._timeline.warnings
        """How many frames were processed despite a fault, by code."""

        head = engine.motion_head if settings.motion_head == 'auto' else None
        unused = engine.motion_head is not None and head is None
        if unused and 'motion' not in engine.manifest.network.channels:
            raise ConfigurationError(
                f'motion_head is {settings.motion_head!r}, but the network of model '
                f'{engine.manifest.name!r} has no decoder for motion; set it to "auto"')
        self.moving = None if head is None else MovingObjects(head, engine.manifest)
        """Runs the motion head; None if the network's own decoder predicts motion."""
        self._objects = ObjectsInTime(engine.manifest)
        self._state: Any = None
        self.motion_unknown = ''
        """Why motion is unknown in the last frame; empty if it is known or was not asked for."""

        # What the last frame's calibration said.
        self.intrinsics: Intrinsics = NO_CALIBRATION
        """What is known of the camera of the last frame."""
        self.focal_px = 0.0
        """Focal length that the metres of the last frame stand on, pixels of the camera; 0 before
        the first one."""
        self.rectifier: Rectifier | None = None
        """Makes a pinhole of the camera; None if it is one."""
        self.layout: Layout | None = None
        """What the network sees of the images; None before the first one."""

    def reset(self, reason: str) -> None:
        """
        Drop the temporal state.

        :param reason: why, such as ``time_jump``; counted in :attr:`resets`.
        """
        self._timeline.reset(reason)
        self._state = None
        self._objects.tracker.forget()
        if self.anchor is not None:
            self.anchor.forget()
        if self.moving is not None:
            self.moving.forget(reason)

    def process(
        self, frame: Frame, tasks: Collection[str] | None = None,
        output_size: Literal['camera', 'network'] = 'camera', focal_px: float | None = None,
        odometry: Odometry | None = None, intrinsics: Intrinsics | None = None,
    ) -> Perception:
        """
        Return the prediction for a frame.

        :param frame: of this camera.
        :param tasks: names of the tasks to compute, and ``step`` for the camera's own motion
            of a model with a motion head; all if None. ``semantic_confidence`` and
            ``depth_confidence`` are computed only if they are named, and so are ``objects``.
        :param output_size: whether the results have the camera's or the network's size.
        :param focal_px: focal length of the camera at the camera's size, pixels; scales depth.
            If the resize changes the aspect ratio, the scale of the rows counts: they show how
            far away the ground is and how tall the things on it are.
            None or an impossible value leaves depth as the training camera would see it, or, if
            the network sees parts of the image, assumes :attr:`focal_px`.
        :param odometry: measures how the camera moved; None estimates it from the images.
        :param intrinsics: what a calibration says about the camera, in place of ``focal_px``.
        :raises FrameError: ``T02_duplicate``, ``M09_nonfinite``, ``M10_output``, or what the
            engine raises; the temporal state is not changed by a frame that was dropped.
        :raises ValueError: if the image is not RGB, or a task or an output size does not exist.
        """
        with_objects = tasks is not None and OBJECTS in tasks
        _check_input(frame, output_size)
        manifest = self.engine.manifest
        if tasks is not None and 'depth_confidence' in tasks and not manifest.depth_confidence:
            raise ValueError(
                f'model {manifest.name!r} cannot tell how good its depth is; '
                '"mtl evaluate MODEL --calibrate" teaches it')
        known = given_focal_length(focal_px) if intrinsics is None else intrinsics
        frame, focal_x, focal_y = self._as_pinhole(frame, known)
        layout = self.layout = self._layout(frame)
        image = layout.shown(frame.image)

        # Does this frame continue the last one? Only then may the network compare the two.
        link = self._timeline.follow(frame, image)
        state = self._state if link.continues else None
        outputs, next_state = self._step(layout, image, state, self._needed(tasks))
        self._commit(link, next_state)
        if tasks is not None and 'depth_confidence' in tasks:
            outputs = dataclasses.replace(outputs, depth_confidence=depth_confidence(
                outputs, manifest.depth_confidence))

        # One image does not tell the scale: lens and mounting height do.
        outputs = told_height(outputs, manifest, self.height_ratio)
        if focal_y is None and not layout.is_plain:
            focal_y = self.focal_px
        scale = self._lens_scale(focal_y, layout)
        if self.anchor is not None and outputs.depth is not None:
            scale *= self._anchored(
                self.anchor, link, image, outputs, scale,
                self._pinhole(layout, focal_x or self.focal_px), odometry)

        # The model's motion head, if it has one, predicts motion instead of the network.
        moving = None
        if self.moving is not None and (
                tasks is None or {*MOTION_HEAD_TASKS, OBJECTS} & {*tasks}):
            camera = self._camera(layout, focal_x)
            moving = self._run_head(self.moving, link, image, outputs, camera, scale, odometry)
            outputs = moving.outputs
            self.motion_unknown = moving.reason
        else:
            self.motion_unknown = '' if manifest.network.frames == 1 else link.reason

        objects = None
        if with_objects and not link.odd:
            objects = self._objects_of(
                link, outputs, scale, layout, moving or Moving(outputs, self.motion_unknown, None))

        perception = to_perception(
            outputs, manifest, *layout.shown_size(output_size), depth_scale=scale,
            motion_known=not self.motion_unknown, picture=layout.picture)
        perception = layout.restore(_requested(perception, moving, tasks), output_size)
        if self.rectifier is not None:
            perception = self.rectifier.restore(perception, *layout.size(output_size))
        return dataclasses.replace(perception, objects=objects)

    def _objects_of(
        self, link: Link, outputs: Outputs, scale: float, layout: Layout, moving: Moving,
    ) -> Objects:
        """Return the objects of a frame."""
        # Frames for which objects are not asked are unknown to their tracks.
        newest_ns = self._objects.tracker.newest_ns
        if newest_ns is not None and self._timeline.is_gap(newest_ns, link.stamp_ns):
            self._objects.tracker.forget()

        camera = self._pinhole(layout, self.focal_px)
        return self._objects.process(link.stamp_ns, outputs, scale, camera, moving)

    def _layout(self, frame: Frame) -> Layout:
        """Return what the network sees of a frame, which a pinhole took."""
        height, width = frame.image.shape[:2]
        rectified = None if self.rectifier is None else self.rectifier.roi
        return self.settings.fit.layout(height, width, self.engine.manifest, rectified)

    def _step(
        self, layout: Layout, image: NDArray[np.uint8], state: Any,
        tasks: Collection[str] | None,
    ) -> tuple[Outputs, Any]:
        """Return the outputs for a picture and the next state, which has a part per tile."""
        found, following = [], []
        for number, tile in enumerate(layout.cut(image)):
            outputs, after = self.engine.step(
                tile, None if state is None else state[number], tasks)

            # Checked before any state changes: a dropped frame leaves no trace.
            check_outputs(outputs, self.engine.manifest)
            found.append(outputs)
            following.append(after)
        return join(found, layout, self.engine.manifest), following

    def _as_pinhole(
        self, frame: Frame, known: Intrinsics,
    ) -> tuple[Frame, float | None, float | None]:
        """Return the frame as a pinhole sees it, and its focal lengths along x and y, pixels."""
        height, width = frame.image.shape[:2]
        self.intrinsics = known
        self.focal_px = known.focal_px or assumed_focal_length(self.engine.manifest, width)

        lens = known.lens if self.settings.rectify == 'auto' else None
        if lens is None or not lens.is_strong(height, width):
            lens = None
        if lens is None:
            self._use(None)
            return frame, known.focal_px, known.focal_y_px

        if (self.rectifier is None or self.rectifier.lens != lens
                or self.rectifier.size != (height, width)):
            self._use(Rectifier(lens, height, width))
        assert self.rectifier is not None
        pinhole = dataclasses.replace(frame, image=self.rectifier.image(frame.image))
        return pinhole, self.rectifier.focal_px, self.rectifier.focal_px

    def _use(self, rectifier: Rectifier | None) -> None:
        """Change the rectifier; the next frame cannot be compared with one of another."""
        if rectifier is not self.rectifier:
            self.rectifier = rectifier
            if self._timeline.started:
                self.reset('camera')

    def _needed(self, tasks: Collection[str] | None) -> Collection[str] | None:
        """
        Return the tasks that the network has to compute.

        Depth needs the semantics to know the sky, instances to know the objects' classes, and a
        motion head needs semantics and depth, but not the network's own motion.
        """
        manifest = self.engine.manifest
        if tasks is not None and OBJECTS in tasks:
            tasks = ({*tasks} - {OBJECTS}) | object_tasks(self.engine)

        if self.anchor is not None and tasks is not None and 'depth' in tasks:
            tasks = {*tasks, 'semantic'}
        if tasks is not None and 'depth_confidence' in tasks:
            tasks = {*tasks, 'depth', 'semantic_confidence'} - {'depth_confidence'}
        if tasks is not None and 'semantic_confidence' in tasks:
            tasks = {*tasks, 'semantic'}
        if self.moving is not None:
            wanted = {task.name for task in manifest.tasks} if tasks is None else {*tasks}
            needed = {'semantic', 'depth'} if wanted & MOTION_HEAD_TASKS else set()
            tasks = (wanted - MOTION_HEAD_TASKS) | needed

        semantic = manifest.task('semantic')
        if tasks is None or semantic is None:
            return tasks
        if 'instance' in tasks or ('depth' in tasks and semantic.sky >= 0):
            return {*tasks, 'semantic'}
        return tasks

    def _commit(self, link: Link, next_state: Any) -> None:
        """Make a processed frame the one to compare the next with, unless its stamp is odd."""
        self._timeline.commit(link)
        if not link.odd:
            self._state = next_state
        if link.forgets:
            self._objects.tracker.forget()
            if self.moving is not None:
                self.moving.forget(link.reason)

    def use_camera_height(self, height: float) -> None:
        """
        Take another height of the camera, from the next frame on.

        :param height: above the ground, metres; 0 = that of the training.
        :raises ConfigurationError: if the model does not know the height that it was trained at.
        """
        self.height_ratio = self.check_camera_height(height)
        self.settings = dataclasses.replace(self.settings, camera_height=height)
        if self.anchor is not None:
            self.anchor.use_height(height)

    def check_camera_height(self, height: float) -> float:
        """
        Return a height over that of the training, as :meth:`use_camera_height` takes it.

        :raises ConfigurationError: if the model does not know the height that it was trained at.
        """
        return height_ratio(self.engine.manifest, height, self.settings.depth_scale)

    def use_max_gap(self, seconds: float) -> None:
        """Take another longest time between two frames that may be compared, seconds."""
        self.settings = dataclasses.replace(self.settings, max_gap_s=seconds)
        self._timeline.max_gap_s = seconds

    def _lens_scale(self, focal_px: float | None, layout: Layout) -> float:
        """
        Return the factor on depth for the focal length.

        Through a longer lens things look larger, so the network sees them nearer than they are.

        :param focal_px: along y; None or an impossible value gives 1.
        :param layout: what the network sees of the image.
        """
        if focal_px is None or not 0 < focal_px < np.inf:
            return 1.0
        manifest = self.engine.manifest
        trained = manifest.focal_y_px or manifest.focal_px  # 0 = square pixels
        return layout.focal_y(focal_px) / trained

    def _camera(self, layout: Layout, focal_px: float | None) -> Pinhole | None:
        """Return the camera of the picture; None leaves the assumption to the motion head."""
        if focal_px is None or not 0 < focal_px < np.inf:
            self.warnings[ReasonCode.NO_INTRINSICS] += 1
            return None if layout.is_plain else layout.pinhole(ASSUMED_FOCAL * layout.camera[1])
        return self._pinhole(layout, focal_px)

    def _pinhole(self, layout: Layout, focal_px: float) -> Pinhole:
        """Return the camera of the picture, with the principal point that a calibration tells."""
        if self.rectifier is not None:
            return layout.pinhole(self.rectifier.focal_px)
        known = self.intrinsics
        return layout.pinhole(focal_px, known.focal_y_px, known.centre)

    def _anchored(
        self, anchor: DepthAnchor, link: Link, image: NDArray[np.uint8], outputs: Outputs,
        scale: float, camera: Pinhole, odometry: Odometry | None,
    ) -> float:
        """Return the measured factor on the depth of a frame, and count where it is unknown."""
        assert outputs.depth is not None  # it was asked for, and with it the semantics
        assert outputs.semantic is not None
        factor = anchor.factor  # counts on in a frame that has the stamp of another one
        if not link.odd or link.reason == ReasonCode.TIME_ZERO:
            factor = anchor.update(
                image, link.stamp_ns, outputs.depth * np.float32(scale), outputs.semantic,
                camera, odometry)
        if not anchor.anchored:
            self.warnings[ReasonCode.NOT_ANCHORED] += 1
        return factor

    def _run_head(
        self, objects: MovingObjects, link: Link, image: NDArray[np.uint8], outputs: Outputs,
        camera: Pinhole | None, scale: float, odometry: Odometry | None,
    ) -> Moving:
        """Return what the motion head knows about a frame."""
        if link.odd:
            return objects.unknown_motion(outputs, image, link.reason)

        # Frames for which motion is not asked skip the head, so its last one may be long ago.
        newest_ns = objects.newest_ns
        if newest_ns is not None and self._timeline.is_gap(newest_ns, link.stamp_ns):
            objects.forget('gap')
        return objects.process(image, link.stamp_ns, outputs, camera, scale, odometry)


def _check_input(frame: Frame, output_size: str) -> None:
    """
    Refuse an image that is not RGB, and an unknown output size.

    :raises ValueError: with what was found and wanted.
    """
    image = frame.image
    if output_size not in ('camera', 'network'):
        raise ValueError(f"output_size is {output_size!r}; it must be 'camera' or 'network'")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f'the image is {image.dtype} {image.shape}, wanted uint8 (H, W, 3)')


def assumed_focal_length(manifest: Manifest, width: int) -> float:
    """Return the focal length of an unknown camera, pixels at its images' width."""
    return focal_length_at(manifest.focal_px, manifest.width, width)


def _requested(
    perception: Perception, moving: Moving | None, tasks: Collection[str] | None,
) -> Perception:
    """Add the motion head's residual flow and step; drop tasks that were not asked for."""
    if moving is not None:
        perception = dataclasses.replace(
            perception, residual=moving.residual(), step=moving.step)
    if tasks is None:
        return perception
    unasked = {task: None for task in ('semantic', 'depth', *CONFIDENCES.values())
               if task not in tasks}
    return dataclasses.replace(perception, **unasked)
