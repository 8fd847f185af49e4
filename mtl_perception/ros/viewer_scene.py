# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
From messages to what Rerun's viewer draws: each camera a tree of entities.

``CAMERA/image`` has the pixels, the pinhole and, below it, masks, depth and boxes.
``CAMERA/objects``, ``CAMERA/velocities`` and ``CAMERA/points`` lie in the camera's optical frame,
in metres.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from mtl_perception import topics
from mtl_perception.image_codec import decode_array, decode_image
from mtl_perception.ros.object_messages import STATE
from mtl_perception.tasks import MOVING
from mtl_perception.topics import Topic

TIMELINE = 'stamp'
UNNAMED = 'camera'
"""Entity of a camera without a namespace."""
DIAGNOSTICS = 'diagnostics'
LEVELS = ('INFO', 'WARN', 'ERROR', 'ERROR')
"""Of a diagnostic status: OK, WARN, ERROR, STALE."""
OPACITY = 0.5
FAR_M = 50.0
"""From here on all depth has one colour."""
RADIUS_M = 0.5
"""Of the sphere of an object."""


class Scene:
    """
    What the viewer shows.

    :param rerun: the module ``rerun``, which is optional.
    :param recording: a ``rerun.RecordingStream``.
    """

    def __init__(self, rerun: Any, recording: Any) -> None:
        self._rerun = rerun
        self._recording = recording
        self._cameras: list[str] = []
        self._names: dict[str, dict[int, str]] = {}
        self._labels: dict[tuple[str, str], str] = {}
        self._calibrations: dict[str, bytes] = {}
        self._statuses: dict[str, tuple[bytes, str]] = {}

        masks = {topics.SEMANTIC: 'semantic', topics.MOTION: 'motion',
                 topics.INSTANCE: 'instance'}
        self._ways: dict[Topic, Callable[[str, Any], None]] = {
            topics.IMAGE: self._image, topics.COMPRESSED_IMAGE: self._compressed,
            topics.CAMERA_INFO: self._camera_info, topics.DEPTH: self._depth,
            topics.MARKERS: self._boxes, topics.OBJECT_STATE: self._objects,
            topics.POINTS: self._points, topics.DIAGNOSTICS: self._diagnostics}
        for topic, task in masks.items():
            self._ways[topic] = self._mask_of(task)
        for task in ('semantic', 'motion'):
            self._ways[topics.LABELS[task]] = self._labels_of(task)

    @property
    def shown(self) -> list[Topic]:
        """The topics that :meth:`show` takes."""
        return list(self._ways)

    def show(self, topic: Topic, namespace: str, message: Any) -> None:
        """
        Draw a message at the time of its stamp.

        :param topic: one of ``shown``.
        :param namespace: of the camera, empty for none.
        :raises FrameError: if the message is broken.
        """
        camera = namespace or UNNAMED
        if topic is not topics.DIAGNOSTICS and camera not in self._cameras:
            self._add_camera(camera)

        # labels have no stamp; they hold for all times
        if hasattr(message, 'header'):
            stamp = message.header.stamp
            self._recording.set_time(TIMELINE, timestamp=np.datetime64(
                stamp.sec * 10 ** 9 + stamp.nanosec, 'ns'))
        self._ways[topic](camera, message)

    def _log(self, path: str, *parts: Any, static: bool = False) -> None:
        self._recording.log(path, *parts, static=static)

    def _add_camera(self, camera: str) -> None:
        """Give a new camera its axes, and every camera its views."""
        self._cameras = sorted([*self._cameras, camera])
        self._log(camera, self._rerun.ViewCoordinates.RDF, static=True)

        blueprint = self._rerun.blueprint
        tabs = []
        for one in self._cameras:
            image = f'/{one}/image'
            flat = [
                blueprint.Spatial2DView(origin=image, name=name, contents=[image, *(
                    f'{image}/{task}' for task in tasks)])
                for name, tasks in (('classes', ['semantic', 'detection']), ('motion', ['motion']),
                                    ('depth', ['depth']), ('instances', ['instance']))]

            space = blueprint.Spatial3DView(origin=f'/{one}', name='space', contents=[
                '$origin/**', f'- {image}/semantic', f'- {image}/motion', f'- {image}/instance'])
            tabs.append(blueprint.Vertical(blueprint.Grid(*flat), space, name=one))

        log = blueprint.TextLogView(origin=f'/{DIAGNOSTICS}', name=DIAGNOSTICS)
        self._recording.send_blueprint(blueprint.Blueprint(blueprint.Vertical(
            blueprint.Tabs(*tabs), log, row_shares=[5, 1]), collapse_panels=True))

    def _image(self, camera: str, message: Any) -> None:
        self._log(f'{camera}/image', self._rerun.Image(decode_image(message)))

    def _compressed(self, camera: str, message: Any) -> None:
        kind = 'image/png' if 'png' in message.format else 'image/jpeg'
        self._log(f'{camera}/image', self._rerun.EncodedImage(
            contents=bytes(message.data), media_type=kind))

    def _camera_info(self, camera: str, message: Any) -> None:
        """Place the camera, if its calibration is another one."""
        matrix = np.array(message.k, float).reshape(3, 3)
        calibration = matrix.tobytes() + bytes(f'{message.width} {message.height}', 'ascii')
        if matrix[0, 0] <= 0 or self._calibrations.get(camera) == calibration:
            return
        self._calibrations[camera] = calibration
        self._log(f'{camera}/image', self._rerun.Pinhole(
            image_from_camera=matrix, width=message.width, height=message.height,
            camera_xyz=self._rerun.ViewCoordinates.RDF))

    def _mask_of(self, task: str) -> Callable[[str, Any], None]:
        def show(camera: str, message: Any) -> None:
            self._log(f'{camera}/image/{task}', self._rerun.SegmentationImage(
                decode_array(message), opacity=OPACITY))
        return show

    def _labels_of(self, task: str) -> Callable[[str, Any], None]:
        def show(camera: str, message: Any) -> None:
            """Give ids their names and colours; unlabelled pixels stay clear."""
            # The node repeats them. Rerun 0.41 shows no colours of a context that is sent again.
            if self._labels.get((camera, task)) == message.data:
                return
            fields = json.loads(message.data)
            classes = fields['classes']
            infos = [self._rerun.AnnotationInfo(one['id'], one['name'], (
                *one['color'], 0 if task == 'motion' and one['id'] != MOVING else 255))
                for one in classes]
            if 'unlabelled' in fields:
                infos.append(self._rerun.AnnotationInfo(
                    fields['unlabelled'], 'unlabelled', (0, 0, 0, 0)))

            paths = [f'{camera}/image/{task}']
            if task == 'semantic':
                self._names[camera] = {one['id']: one['name'] for one in classes}
                paths += [f'{camera}/{name}' for name in ('objects', 'velocities', 'points')]
            for path in paths:
                self._log(path, self._rerun.AnnotationContext(infos), static=True)
            self._labels[camera, task] = message.data
        return show

    def _depth(self, camera: str, message: Any) -> None:
        """Show metres as colours and, through the pinhole, as points; 0 = none."""
        depth = decode_array(message)
        self._log(f'{camera}/image/depth', self._rerun.DepthImage(
            np.where(np.isfinite(depth), depth, np.float32(0)), meter=1.0, colormap='turbo',
            depth_range=(0.0, FAR_M)))

    def _boxes(self, camera: str, message: Any) -> None:
        points = np.array([(one.x, one.y) for one in message.points], np.float32)
        colours = [(one.r, one.g, one.b) for one in message.outline_colors]
        self._log(f'{camera}/image/detection', self._rerun.LineStrips2D(
            points.reshape(-1, 2, 2), colors=np.array(colours, np.float32).reshape(-1, 3)))

    def _objects(self, camera: str, message: Any) -> None:
        """Show objects as spheres with class and id, and arrows to where they are in a second."""
        rows = np.frombuffer(message.data, STATE)
        names = self._names.get(camera, {})
        places = np.stack([rows[name] for name in 'xyz'], axis=-1)
        labels = [f'{names.get(kind, f"class {kind}")} {number}' for kind, number in zip(
            rows['class'].tolist(), rows['id'].tolist())]
        self._log(f'{camera}/objects', self._rerun.Points3D(
            places, radii=RADIUS_M, labels=labels, class_ids=rows['class'].astype(np.uint16)))

        velocities = np.stack([rows[f'v{name}'] for name in 'xyz'], axis=-1)
        moving = (rows['moving'] == MOVING) & np.isfinite(velocities).all(axis=-1)
        self._log(f'{camera}/velocities', self._rerun.Arrows3D(
            vectors=velocities[moving], origins=places[moving],
            class_ids=rows['class'][moving].astype(np.uint16)))

    def _points(self, camera: str, message: Any) -> None:
        """Show a cloud of the node in its colours."""
        whole = ('rgb', 'label')
        layout = np.dtype({
            'names': [one.name for one in message.fields],
            'formats': ['<u4' if one.name in whole else '<f4' for one in message.fields],
            'offsets': [one.offset for one in message.fields], 'itemsize': message.point_step})
        rows = np.frombuffer(message.data, layout)
        rows = rows[np.isfinite(rows['x'])]

        # PCL packs a colour as 0x00RRGGBB
        colours = np.stack([rows['rgb'] >> shift & 255 for shift in (16, 8, 0)], axis=-1)
        places = np.stack([rows[name] for name in 'xyz'], axis=-1)
        self._log(f'{camera}/points', self._rerun.Points3D(
            places, colors=colours.astype(np.uint8)))

    def _diagnostics(self, _: str, message: Any) -> None:
        """Show a status when it changes."""
        for status in message.status:
            state = (status.level, status.message)
            if self._statuses.get(status.name) == state:
                continue
            self._statuses[status.name] = state
            level = LEVELS[min(status.level[0], len(LEVELS) - 1)]
            self._log(DIAGNOSTICS, self._rerun.TextLog(
                f'{status.name}: {status.message}', level=level))
