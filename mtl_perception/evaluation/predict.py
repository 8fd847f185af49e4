# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl predict``: send every frame of a video, a folder or a bag through a model."""

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError, DataError, FrameError, StorageError
from mtl_perception.evaluation.image_inputs import ImageInput, InputImage
from mtl_perception.frames import Detections, Frame, Perception
from mtl_perception.inference.confidence import CONFIDENCES, offered
from mtl_perception.inference.depth_anchor import DepthScale
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.fit import SQUEEZED, Fit, Layout
from mtl_perception.inference.moving_objects import ASSUMED_FOCAL, Odometry
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.media.calibration import Calibration, pinhole
from mtl_perception.media.intrinsics import given_focal_length, intrinsics_of
from mtl_perception.postprocessing import as_bytes
from mtl_perception.reason_codes import ReasonCode

VIDEO, BAG = '.mp4', '.mcap'
NOT_WRITTEN = ('.avi', '.mkv', '.mov', '.m4v', '.webm', '.db3', '.bag')
"""Suffixes of kinds of videos and recordings that are read but not written."""
MASKS = ('semantic', 'motion', 'instance', 'depth', *CONFIDENCES.values())
"""Folders of the predictions."""
BOXES = 'detections.jsonl'
"""File of the predicted boxes beside them."""
MILLIMETRES = 1000.0
LARGEST_MM = 65534
"""Depth beyond this is stored as 65535; unknown depth as 0."""


def predict(
        engine: Engine, source: ImageInput, take: Callable[[InputImage, Perception], None],
        focal_px: float | None = None, show: Callable[[Any], Any] = iter,
        camera_height: float = 0.0, calibration: Calibration | None = None,
        rectify: Literal['auto', 'off'] = 'auto', warn: Callable[[str], object] = str,
        fit: Fit = SQUEEZED, confidence: bool = False,
        depth_scale: DepthScale = 'network', odometry: Odometry | None = None,
) -> tuple[int, list[str]]:
    """
    Send every frame through a model, in order; the same frames give the same predictions.

    :param engine: the deployed network.
    :param source: the images.
    :param take: gets each image and its prediction.
    :param focal_px: of the camera at the width of its images, pixels; None takes that of the
        recording, if it has one.
    :param show: wraps the frames, for a progress bar.
    :param camera_height: of the camera above the ground, metres; 0 = that of the training.
    :param calibration: of the camera, at any size of its images; it counts, whatever a recording
        says.
    :param rectify: see :class:`.StreamSettings`.
    :param warn: is told at once if the metres do not stand on a calibration, and what the network
        sees of images that are not simply squeezed.
    :param fit: how images of another shape than the network's are brought to it.
    :param confidence: whether predictions say how likely they are right.
    :param depth_scale: what the metres stand on, see :class:`.StreamSettings`.
    :param odometry: measures how the camera moved; None estimates it.
    :return: how many frames have a prediction, and remarks: on which focal length the metres
        stand, and why motion is unknown in frames after the first.
    :raises ConfigurationError: if the images have another ratio of the sides than the calibration.
    :raises DataError: if there is no frame that can be used, or, of a strict input, one cannot be
        read.
    :raises FrameError: of a strict input, if the stream refuses a frame, such as with ``I25_fit``
        if the image has no such part, or needs too many tiles. Of others such a frame is left out
        and counted.
    """
    stream = CameraStream(
        engine, StreamSettings(
            camera_height=camera_height, rectify=rectify, fit=fit, depth_scale=depth_scale))
    tasks = _with_confidence(stream) if confidence else None
    metres: Counter[str] = Counter()
    layouts: set[Layout] = set()
    count = changes = 0
    for shown in show(source.images):
        # Another brightness is no motion.
        if source.image_range.changes > changes:
            changes = source.image_range.changes
            stream.reset('image_range')

        # What was given counts, and goes into the output, in place of the recording's calibration.
        height, width = shown.image.shape[:2]
        known, info = shown.intrinsics, shown.info
        if focal_px:
            known, info = given_focal_length(focal_px), pinhole(height, width, focal_px)
        elif calibration is not None:
            info = calibration.at(height, width)
            known = intrinsics_of(info, shown.image.shape)

        frame = Frame('predict', shown.stamp_ns, shown.image)
        try:
            prediction = stream.process(frame, tasks, intrinsics=known, odometry=odometry)
        except FrameError as error:
            if source.strict:
                raise
            source.omissions.add(f'frame {shown.name}: {error}')
            continue

        count += 1
        if known.is_of_another_size:  # it cannot scale depth
            prediction = dataclasses.replace(prediction, depth=None, depth_confidence=None)

        # Whoever waits for metres is told at once what they stand on.
        text = metres_text(stream)
        if known.code is not None and text and text not in metres:
            warn(text)
        metres[text] += 1

        if stream.layout is not None and stream.layout not in layouts and fit != SQUEEZED:
            layouts.add(stream.layout)
            warn(stream.layout.text())
        take(dataclasses.replace(shown, intrinsics=known, info=info), prediction)
    if not count:
        found = f': {source.omissions}' if source.omissions else ''
        raise DataError(f'there is not a single frame that can be used{found}')

    remarks = [f'{text} ({times} frames)' if len(metres) > 1 else text
               for text, times in metres.items()]
    return count, [
        text for text in (*remarks, not_anchored(stream, count), _unknown(stream)) if text]


def _with_confidence(stream: CameraStream) -> list[str]:
    """
    Return the names of all tasks of a model and of its confidences.

    :raises ConfigurationError: if it has none.
    """
    manifest = stream.engine.manifest
    names = [task.name for task in manifest.tasks]
    found = offered(stream.engine)
    if not found:
        raise ConfigurationError(
            f'model {manifest.name!r} gives no confidence: that takes classes, and a graph that '
            'this version exported')
    return [*names, *found, *(['step'] if stream.moving is not None else [])]


def metres_text(stream: CameraStream) -> str:
    """Return on which focal length the metres of the last frame stand; empty without metres."""
    if stream.engine.manifest.task('depth') is None:
        return ''
    if stream.intrinsics.is_of_another_size:
        return f'depth is withheld: {stream.intrinsics.reason}'
    text = f'depth stands on: {stream.intrinsics.text(stream.focal_px)}'
    if stream.rectifier is None:
        return text
    return (f'{text}; the lens is rectified to {stream.rectifier.focal_px:.4g} pixels, '
            f'{stream.rectifier.unseen:.0%} of the image is outside of the view')


def not_anchored(stream: CameraStream, count: int) -> str:
    """Return in how many of the frames the scale of depth could not be measured."""
    missing = stream.warnings[ReasonCode.NOT_ANCHORED]
    if not missing:
        return ''
    return (f'[{ReasonCode.NOT_ANCHORED}] depth is not anchored by the '
            f'{stream.settings.depth_scale} in {missing} of {count} frames: the scale is the last '
            "one that was measured, before the first one the network's")


def _unknown(stream: CameraStream) -> str:
    """Return in how many frames motion is unknown, why, and what may help."""
    if stream.moving is None:
        return ''
    # In the first frame motion is unknown to every model.
    reasons = {
        reason: count for reason, count in stream.moving.unknown.items() if reason != 'first'}
    if not reasons:
        return ''

    found = ', '.join(f'{count} {reason}' for reason, count in sorted(reasons.items()))
    text = f'motion is unknown in {sum(reasons.values())} frames ({found})'
    if stream.warnings[ReasonCode.NO_INTRINSICS] and 'poor_ego_motion' in reasons:
        text += (f'; a focal length of {ASSUMED_FOCAL:g} of the width was assumed, '
                 '--focal-length gives that of the camera')
    return text


class FolderWriter:
    """
    Write predictions as files.

    ``semantic/NAME.png`` and ``motion/NAME.png`` have 8 bits (ids; 255 = unknown),
    ``depth/NAME.png`` 16 bits of millimetres (0 unknown, 65535 farther or sky),
    ``instance/NAME.png`` 16 bits of ids; ``semantic_confidence/NAME.png`` and
    ``depth_confidence/NAME.png`` 8 bits (0 to 255 for 0 to 1); ``detections.jsonl`` has
    a line per frame.

    :param folder: made if missing.
    :param classes: names of the classes of boxes.
    :ivar kept: the folder once it holds something, None before.
    """

    def __init__(self, folder: Path, classes: tuple[str, ...] = ()) -> None:
        self.folder, self.classes = folder, classes
        self.kept: Path | None = None

    def __enter__(self) -> 'FolderWriter':
        """Return the writer."""
        return self

    def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None,
            trace: TracebackType | None) -> None:
        """Leave everything where it is: each file is whole."""

    def take(self, shown: InputImage, prediction: Perception) -> None:
        """
        Write one prediction.

        :raises StorageError: if a file cannot be written.
        """
        name = shown.name
        for task in ('semantic', 'motion', 'instance'):
            if (values := getattr(prediction, task)) is not None:
                self._write(task, name, values)

        for task in CONFIDENCES.values():
            if (values := getattr(prediction, task)) is not None:
                self._write(task, name, as_bytes(values))

        # 16 bits of millimetres end at 65 m; sky and farther depth share the largest number.
        if prediction.depth is not None:
            millimetres = np.nan_to_num(prediction.depth * MILLIMETRES, nan=0.0, posinf=2e9)
            stored = np.where(millimetres > LARGEST_MM, 65535, np.rint(millimetres))
            self._write('depth', name, stored.astype(np.uint16))

        if prediction.detection is not None:
            self._write_boxes(name, prediction.detection)
        self.kept = self.folder

    def _write_boxes(self, name: str, boxes: Detections) -> None:
        """
        Append the boxes of one frame.

        :raises StorageError: if that is impossible.
        """
        line = json.dumps({'name': name, 'boxes': [
            {'class': self.classes[kind], 'score': round(score, 4),
             'corners': [round(value, 2) for value in corners]}
            for corners, score, kind in zip(
                boxes.corners.tolist(), boxes.scores.tolist(), boxes.classes.tolist())]})

        path = self.folder / BOXES
        mode = 'w' if self.kept is None else 'a'  # lines of an earlier run would be mixed in
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open(mode, encoding='utf-8') as file:
                file.write(line + '\n')
        except OSError as error:
            raise StorageError(f'{path}: cannot be written ({error})') from error

    def _write(self, task: str, name: str, values: NDArray[Any]) -> None:
        """
        Write one map.

        :raises StorageError: if that is impossible; no part of it stays.
        """
        path = self.folder / task / f'{name}.png'
        done, content = cv2.imencode('.png', values)
        assert done
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.tobytes())
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink()
            raise StorageError(f'{path}: cannot be written ({error})') from error


def check_output(source: Path, output: Path) -> None:
    """
    Refuse an output that would overwrite the input or earlier predictions.

    :raises ConfigurationError: saying which.
    """
    suffix = output.suffix.lower()
    if suffix in NOT_WRITTEN:
        raise ConfigurationError(
            f'--output is {output}; wanted a video {VIDEO}, a rosbag2 {BAG} or a folder')

    # a video is replaced once the new one is whole, a bag never
    if suffix == VIDEO:
        if output.resolve() == source.resolve():
            raise ConfigurationError(f'--output {output} is the input; name another file')
        return

    if suffix == BAG:
        if output.with_suffix('').exists():
            raise ConfigurationError(
                f'{output.with_suffix("")} exists already; remove it, or write into another '
                'folder')
        return

    # A folder may exist, but neither it nor those of the masks may hold what would be lost.
    if (output / BOXES).exists():
        raise ConfigurationError(
            f'{output / BOXES} holds earlier predictions, which would be overwritten; remove it, '
            'or write into another folder')

    for folder in (output, *(output / task for task in MASKS)):
        if folder.resolve() == source.resolve():
            raise ConfigurationError(
                f'--output {output} would write into the input folder; name another folder')
        if folder != output and folder.is_dir() and any(folder.iterdir()):
            raise ConfigurationError(
                f'{folder} holds earlier predictions, which would be mixed with the new ones; '
                'remove it, or write into another folder')
