# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writing answers as the node publishes them, into a rosbag2 (mcap)."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError
from rosbags.typesys import Stores, get_typestore

from mtl_perception import topics
from mtl_perception.errors import ConfigurationError, StorageError
from mtl_perception.evaluation.image_inputs import Shot
from mtl_perception.frames import Detections, Perception
from mtl_perception.image_codec import image_fields
from mtl_perception.tasks import UNKNOWN_MOTION, UNLABELLED, Task

MAPS = ('semantic', 'depth', 'motion', 'instance')
FRAME_ID = 'camera'
LINE_WIDTH = 2.0
LINE_LIST, ADD = 2, 0


class BagOutput:
    """
    A new recording of images and answers, under the topics and types of the node.

    The calibration and the truth of a recording that the images are from go with them.

    :param folder: of the new bag; must not exist.
    :param tasks: of the model.
    :param namespace: of the camera.
    :raises ConfigurationError: if the folder exists.
    :raises StorageError: if it cannot be made.
    """

    def __init__(self, folder: Path, tasks: tuple[Task, ...], namespace: str = '') -> None:
        self.folder = folder
        self._tasks = {task.name: task for task in tasks}
        self._namespace = namespace
        self._store = get_typestore(Stores.ROS2_KILTED)
        self._connections: dict[str, Connection] = {}
        self._labelled = False
        if folder.exists():
            raise ConfigurationError(
                f'{folder} exists already; remove it, or write into another folder')
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
        except (OSError, WriterError) as error:
            raise StorageError(f'{folder}: the bag cannot be made: {error}') from error

    def __enter__(self) -> 'BagOutput':
        """Return the recording."""
        return self

    def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None,
            trace: TracebackType | None) -> None:
        """Finish the recording; one that was broken off is removed."""
        try:
            self._writer.close()
        except OSError as problem:
            if kind is None:
                shutil.rmtree(self.folder, ignore_errors=True)
                raise StorageError(f'{self.folder}: cannot be written: {problem}') from problem
        if kind is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def take(self, shot: Shot, found: Perception) -> None:
        """
        Write one image and what was answered.

        :raises StorageError: if that is impossible.
        """
        try:
            self._take(shot, found)
        except OSError as error:
            raise StorageError(f'{self.folder}: cannot be written: {error}') from error

    def _take(self, shot: Shot, found: Perception) -> None:
        stamp_ns = shot.stamp_ns
        if not self._labelled:
            self._labelled = True
            for name, topic in topics.LABELS.items():
                if name in self._tasks:
                    text = self._store.types[topic.kind](labels_text(self._tasks[name]))
                    self._write(topic, text, stamp_ns)
        self._write(topics.IMAGE, self._image(shot.image, 'rgb8', stamp_ns), stamp_ns)
        if shot.info is not None:
            self._write(topics.CAMERA_INFO, self._info(shot, *shot.image.shape[:2]), stamp_ns)
        for role, values in (() if shot.moment is None else shot.moment.arrays.items()):
            if role.startswith('true_'):
                topic = topics.TRUTH[role.removeprefix('true_')]
                encoding = topic.encoding
                if values.dtype == np.int32:  # ids, of which negative ones are unknown
                    encoding = '32SC1'
                elif encoding == '16UC1':
                    values = values.astype(np.uint16, copy=False)
                self._write(topic, self._image(values, encoding, stamp_ns), stamp_ns)
        for name in MAPS:
            topic = topics.PREDICTIONS[name]
            if (values := getattr(found, name)) is not None:
                self._write(topic, self._image(values, topic.encoding, stamp_ns), stamp_ns)
        if found.depth is not None and shot.info is not None:
            self._write(topics.DEPTH_INFO, self._info(shot, *found.depth.shape), stamp_ns)
        if found.detection is not None:
            self._write(topics.MARKERS, self._markers(
                found.detection, self._tasks['detection'], stamp_ns), stamp_ns)

    def _write(self, topic: topics.Topic, message: Any, stamp_ns: int) -> None:
        name, kind = topic.below(self._namespace), topic.kind
        if name not in self._connections:
            self._connections[name] = self._writer.add_connection(
                name, kind, typestore=self._store)
        self._writer.write(
            self._connections[name], stamp_ns, self._store.serialize_cdr(message, kind))

    def _header(self, stamp_ns: int) -> Any:
        types = self._store.types
        stamp = types['builtin_interfaces/msg/Time'](*divmod(stamp_ns, 10 ** 9))
        return types['std_msgs/msg/Header'](stamp, FRAME_ID)

    def _image(self, values: NDArray[Any], encoding: str, stamp_ns: int) -> Any:
        if encoding == '32FC1':
            values = values.astype(np.float32, copy=False)
        fields = image_fields(values, encoding)
        return self._store.types[topics.IMAGE_TYPE](
            self._header(stamp_ns), fields.height, fields.width, encoding, fields.is_bigendian,
            fields.step, np.frombuffer(fields.data, np.uint8))

    def _info(self, shot: Shot, height: int, width: int) -> Any:
        """Return the calibration under the stamp of the image; the sizes are always equal."""
        assert (height, width) == shot.image.shape[:2]
        fields = {field.name: getattr(shot.info, field.name)
                  for field in dataclasses.fields(shot.info) if field.name != '__msgtype__'}
        return self._store.types[topics.CAMERA_INFO_TYPE](**{
            **fields, 'header': self._header(shot.stamp_ns)})

    def _markers(self, found: Detections, task: Task, stamp_ns: int) -> Any:
        """Return the outlines of boxes, each in the colour of its class."""
        types = self._store.types
        point, colour = types['geometry_msgs/msg/Point'], types['std_msgs/msg/ColorRGBA']
        points, colours = [], []
        for (left, top, right, bottom), kind in zip(
                found.corners.tolist(), found.classes.tolist()):
            corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
            red, green, blue = (value / 255 for value in task.palette[kind])
            for first, second in zip(corners, corners[1:] + corners[:1]):
                points += [point(x, y, 0.0) for x, y in (first, second)]
                colours.append(colour(red, green, blue, 1.0))
        duration = types['builtin_interfaces/msg/Duration'](0, 0)
        nothing = colour(0.0, 0.0, 0.0, 0.0)
        return types[topics.MARKER_TYPE](
            self._header(stamp_ns), 'detections', 0, LINE_LIST, ADD, point(0.0, 0.0, 0.0),
            LINE_WIDTH, nothing, 0, nothing, duration, points, colours)


def labels_text(task: Task) -> str:
    """Return what the ids of a mask mean, as the node's ``labels`` topics say it."""
    fields: dict[str, Any] = {'task': task.name, 'classes': [
        {'id': index, 'name': name, 'color': list(colour), 'movable': index in task.movable}
        for index, (name, colour) in enumerate(zip(task.classes, task.palette))]}
    if task.kind == 'classes':
        fields['unlabelled'] = UNKNOWN_MOTION if task.name == 'motion' else UNLABELLED
    return json.dumps(fields)
