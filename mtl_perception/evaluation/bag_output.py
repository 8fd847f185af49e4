# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writing predictions as the node publishes them, into a rosbag2 (mcap)."""

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

from mtl_perception import topics
from mtl_perception.bags.message_types import message_store
from mtl_perception.errors import ConfigurationError, StorageError
from mtl_perception.evaluation.image_inputs import InputImage
from mtl_perception.frames import Detections, Perception, Truth
from mtl_perception.image_codec import image_fields
from mtl_perception.inference.confidence import CONFIDENCES
from mtl_perception.media.calibration import Calibration
from mtl_perception.postprocessing import as_bytes
from mtl_perception.tasks import Task

CONFIDENCE_TOPICS = {
    CONFIDENCES['semantic']: topics.SEMANTIC_CONFIDENCE,
    CONFIDENCES['depth']: topics.DEPTH_CONFIDENCE}

FRAME_ID = 'camera'
LINE_WIDTH = 2.0
LINE_LIST, ADD = 2, 0


class BagOutput:
    """
    A new recording of images and predictions, under the topics and types of the node.

    The calibration and the truth of a recording that the images are from go with them.

    :param folder: of the new bag; must not exist.
    :param tasks: of the model.
    :param namespace: of the camera.
    :param frame_id: of the camera, in all headers.
    :ivar kept: the folder once it holds frames and is closed; None before.
    :raises ConfigurationError: if the folder exists.
    :raises StorageError: if it cannot be made.
    """

    def __init__(
            self, folder: Path, tasks: tuple[Task, ...], namespace: str = '',
            frame_id: str = '') -> None:
        self.folder = folder
        self.kept: Path | None = None
        self._tasks = {task.name: task for task in tasks}
        self._namespace = namespace
        self._frame_id = frame_id or FRAME_ID
        self._store = message_store()
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
        """Finish the recording; one that was broken off keeps its frames."""
        try:
            self._writer.close()
        except OSError as problem:
            if kind is None:
                raise StorageError(f'{self.folder}: cannot be written: {problem}') from problem
        finally:
            if not self._labelled:  # nothing was computed
                shutil.rmtree(self.folder, ignore_errors=True)
        if self._labelled:
            self.kept = self.folder

    def take(self, shown: InputImage, prediction: Perception) -> None:
        """
        Write one image and its prediction.

        :raises StorageError: if that is impossible.
        """
        try:
            self._write_labels(shown.stamp_ns)
            self._write_input(shown)
            self._write_prediction(shown, prediction)
        except OSError as error:
            raise StorageError(f'{self.folder}: cannot be written: {error}') from error

    def _write_labels(self, stamp_ns: int) -> None:
        """Write what the ids mean, once, as latched topics do."""
        if self._labelled:
            return
        self._labelled = True
        for name, topic in topics.LABELS.items():
            if name in self._tasks:
                text = self._store.types[topic.kind](json.dumps(self._tasks[name].labels()))
                self._write(topic, text, stamp_ns)

    def _write_input(self, shown: InputImage) -> None:
        """Write the image with its calibration and its truth."""
        stamp_ns = shown.stamp_ns
        self._write(topics.IMAGE, self._image(shown.image, 'rgb8', stamp_ns), stamp_ns)
        if shown.info is not None:
            self._write(
                topics.CAMERA_INFO, self._info(shown, *shown.image.shape[:2]), stamp_ns)

        # The truth makes the new recording ready for evaluation.
        truth = shown.truth or Truth()
        for name, topic in topics.TRUTH.items():
            values = getattr(truth, name)
            if values is None:
                continue

            encoding = topic.encoding
            if values.dtype == np.int32:  # negative ids are unknown objects
                encoding = '32SC1'
            elif encoding == '16UC1':
                values = values.astype(np.uint16, copy=False)
            self._write(topic, self._image(values, encoding, stamp_ns), stamp_ns)

    def _write_prediction(self, shown: InputImage, prediction: Perception) -> None:
        """Write the prediction for every task."""
        stamp_ns = shown.stamp_ns
        for name, topic in topics.PREDICTIONS.items():
            values = getattr(prediction, name)
            if values is not None and name != 'detection':
                self._write(topic, self._image(values, topic.encoding, stamp_ns), stamp_ns)
        if prediction.depth is not None and shown.info is not None:
            self._write(
                topics.DEPTH_INFO, self._info(shown, *prediction.depth.shape), stamp_ns)

        for name, topic in CONFIDENCE_TOPICS.items():
            if (values := getattr(prediction, name)) is not None:
                self._write(topic, self._image(as_bytes(values), 'mono8', stamp_ns), stamp_ns)

        # Programs need the scores, viewers the outlines.
        if prediction.detection is not None:
            task = self._tasks['detection']
            self._write(
                topics.DETECTION, self._detections(prediction.detection, task, stamp_ns), stamp_ns)
            self._write(
                topics.MARKERS, self._markers(prediction.detection, task, stamp_ns), stamp_ns)

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
        return types['std_msgs/msg/Header'](stamp, self._frame_id)

    def _image(self, values: NDArray[Any], encoding: str, stamp_ns: int) -> Any:
        if encoding == '32FC1':
            values = values.astype(np.float32, copy=False)
        fields = image_fields(values, encoding)
        return self._store.types[topics.IMAGE.kind](
            self._header(stamp_ns), fields.height, fields.width, encoding, fields.is_bigendian,
            fields.step, np.frombuffer(fields.data, np.uint8))

    def _info(self, shown: InputImage, height: int, width: int) -> Any:
        """Return the calibration under the stamp of the image; the sizes are always equal."""
        assert (height, width) == shown.image.shape[:2]
        header, info = self._header(shown.stamp_ns), shown.info
        if isinstance(info, Calibration):
            everything = self._store.types['sensor_msgs/msg/RegionOfInterest'](
                0, 0, 0, 0, do_rectify=False)
            return self._store.types[topics.CAMERA_INFO.kind](
                header, height, width, info.distortion_model, info.d, info.k.ravel(),
                info.r.ravel(), info.p.ravel(), 0, 0, everything)

        fields = {field.name: getattr(info, field.name)
                  for field in dataclasses.fields(info) if field.name != '__msgtype__'}
        return self._store.types[topics.CAMERA_INFO.kind](**{**fields, 'header': header})

    def _detections(self, boxes: Detections, task: Task, stamp_ns: int) -> Any:
        """Return boxes with class and score."""
        types = {name: self._store.types[f'vision_msgs/msg/{name}'] for name in (
            'Detection2D', 'ObjectHypothesisWithPose', 'ObjectHypothesis', 'BoundingBox2D',
            'Pose2D', 'Point2D')}
        header = self._header(stamp_ns)

        # The message has centre and size, we have corners.
        found = []
        for (left, top, right, bottom), score, kind in zip(
                boxes.corners.tolist(), boxes.scores.tolist(), boxes.classes.tolist()):
            middle = types['Point2D']((left + right) / 2, (top + bottom) / 2)
            box = types['BoundingBox2D'](
                types['Pose2D'](middle, 0.0), right - left, bottom - top)

            hypothesis = types['ObjectHypothesis'](task.classes[kind], score)
            result = types['ObjectHypothesisWithPose'](hypothesis, self._no_pose())
            found.append(types['Detection2D'](header, [result], box, ''))
        return self._store.types[topics.DETECTION.kind](header, found)

    def _no_pose(self) -> Any:
        """Return the pose that a message without one has."""
        types = self._store.types
        point = types['geometry_msgs/msg/Point'](0.0, 0.0, 0.0)
        quaternion = types['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0)
        return types['geometry_msgs/msg/PoseWithCovariance'](
            types['geometry_msgs/msg/Pose'](point, quaternion), np.zeros(36))

    def _markers(self, boxes: Detections, task: Task, stamp_ns: int) -> Any:
        """Return the outlines of boxes, each in the colour of its class."""
        types = self._store.types
        point = types['geometry_msgs/msg/Point']
        colour = types['std_msgs/msg/ColorRGBA']

        points = []
        colours = []
        for (left, top, right, bottom), kind in zip(
                boxes.corners.tolist(), boxes.classes.tolist()):
            corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
            red, green, blue = (value / 255 for value in task.palette[kind])

            # A line list: each side has two points and one colour.
            for first, second in zip(corners, corners[1:] + corners[:1]):
                points += [point(x, y, 0.0) for x, y in (first, second)]
                colours.append(colour(red, green, blue, 1.0))

        duration = types['builtin_interfaces/msg/Duration'](0, 0)
        nothing = colour(0.0, 0.0, 0.0, 0.0)
        return types[topics.MARKERS.kind](
            self._header(stamp_ns), 'detections', 0, LINE_LIST, ADD, point(0.0, 0.0, 0.0),
            LINE_WIDTH, nothing, 0, nothing, duration, points, colours)
