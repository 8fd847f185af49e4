# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Input images one after the other: of a folder, a video or a recording."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.bags.reader import TRUE, Bag
from mtl_perception.bags.storage import SUFFIXES, is_ros1
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.frames import Truth
from mtl_perception.image_range import ImageRange, Limits
from mtl_perception.media.calibration import CalibrationMemory, believable
from mtl_perception.media.intrinsics import NO_CALIBRATION, Intrinsics, is_rectified_topic
from mtl_perception.media.listing import is_hidden
from mtl_perception.media.odometry import OdometryMemory
from mtl_perception.media.omissions import Omissions
from mtl_perception.media.picture_folder import PictureFolder, is_picture
from mtl_perception.media.video import FALLBACK_RATE, Video


@dataclass(frozen=True, eq=False)
class InputImage:
    """
    One image.

    :param name: of it, and of the files that are made of it.
    :param stamp_ns: nanoseconds; of an image without one, its number by the rate.
    :param image: (H, W, 3) uint8 RGB.
    :param info: calibration, a ``sensor_msgs/CameraInfo`` of the recording or a
        :class:`.Calibration` that was given in its place; None if there is none that can be
        believed.
    :param truth: of a recording; None if there is none.
    :param intrinsics: what its calibration says.
    """

    name: str
    stamp_ns: int
    image: NDArray[np.uint8]
    info: Any = None
    truth: Truth | None = None
    intrinsics: Intrinsics = NO_CALIBRATION


@dataclass(frozen=True)
class ImageInput:
    """
    A sequence of images.

    :param images: yields them in order.
    :param count: of images by the header, for a progress bar; 0 if unknown.
    :param rate: images per second where the stamps do not tell.
    :param remarks: what should be said before the work.
    :param omissions: what could not be read; complete when ``images`` is at its end.
    :param image_range: what is black and white in images of more than 8 bits, as far as it may
        change from one to the next.
    :param frame_id: of the camera of a recording.
    :param strict: whether an image that cannot be used is an error.
    """

    images: Iterable[InputImage]
    count: int
    rate: float
    remarks: tuple[str, ...] = ()
    omissions: Omissions = field(default_factory=Omissions)
    image_range: ImageRange = field(default_factory=ImageRange)
    frame_id: str = ''
    strict: bool = False


def open_input(
        path: Path, rate: float = 0.0, namespace: str = '', strict: bool = False,
        limits: Limits | None = None, image_topic: str = '',
        camera_info_topic: str = '') -> ImageInput:
    """
    Return the images of a folder, a video or a recording.

    :param path: of any of them, or of a single picture.
    :param rate: images per second of a video or a folder; 0 takes the times of the video, or 10
        for a folder. The images of a recording have stamps.
    :param namespace: of the camera of a recording.
    :param strict: whether an image that cannot be read is an error; else it is left out and
        counted.
    :param limits: what is black and white in images of more than 8 bits; None finds it.
    :param image_topic: of the camera of a recording, see :class:`.Bag`.
    :param camera_info_topic: of its calibration.
    :raises ConfigurationError: if a rate is given for a recording.
    :raises DataError: if there is no such file, or no image in it.
    """
    if is_bag(path):
        if rate:
            raise ConfigurationError(
                f'{path}: --rate is {rate:g}, but the images of a recording have stamps of their '
                'own, which calibration, truth and odometry go by; leave --rate out')

        bag = Bag(path, namespace, allow_damaged=not strict, image_range=limits, strict=strict,
                  image_topic=image_topic, camera_info_topic=camera_info_topic)
        return _open_bag(bag, strict)

    if path.is_dir() or is_picture(path):
        return _open_folder(path, rate or FALLBACK_RATE, strict, limits)
    if not path.is_file():
        raise DataError(f'{path}: does not exist; give a folder of images, a rosbag2, or a video')
    video = Video(path, limits)
    return ImageInput(
        _decoded(video, rate, strict), video.count, rate or video.rate or FALLBACK_RATE,
        omissions=video.omissions, image_range=video.image_range, strict=strict)


def is_bag(path: Path) -> bool:
    """Return whether a path looks like a rosbag2."""
    if path.is_dir():
        return (path / 'metadata.yaml').is_file() or any(
            one.suffix in SUFFIXES and not is_hidden(one.name) for one in path.iterdir())
    return path.suffix in (*SUFFIXES, '.zstd') or is_ros1(path)


def calibrations_of(bag: Bag) -> CalibrationMemory:
    """Return all calibrations of a recording that count."""
    memory = CalibrationMemory(rectified=is_rectified_topic(bag.camera.image))
    for info in believable(bag.infos.values()):
        memory.put(info)
    return memory


def odometry_of(
        path: Path, topic: str, namespace: str, camera_pose: tuple[float, ...]) -> OdometryMemory:
    """
    Return the way of the robot in a recording.

    :param path: of the recording.
    :param topic: of its ``nav_msgs/Odometry``.
    :param namespace: of the camera.
    :param camera_pose: see :class:`.OdometryMemory`.
    :raises DataError: if there is no such recording or topic.
    """
    if not is_bag(path):
        raise DataError(f'{path}: is no recording, so it has no odometry; give a rosbag2, or use '
                        '--depth-scale height')
    memory = OdometryMemory(camera_pose, kept=None)
    with Bag(path, namespace, allow_damaged=True) as bag:
        for message in bag.odometry(topic):
            memory.put(message)
    return memory


def _open_bag(bag: Bag, strict: bool) -> ImageInput:
    """
    Return the images of a recording, which is closed at their end.

    :raises DataError: if it has none.
    """
    with ExitStack() as stack:
        stack.enter_context(bag)
        bag.require(['image'])
        stack.pop_all()
    stamps = bag.stamps_of('image')
    omissions = Omissions()

    # The mean rate, by the stamps of the first and the last image.
    span_ns = stamps[-1] - stamps[0]
    own = (len(stamps) - 1) * 1e9 / span_ns if span_ns else 0.0
    damage = (f'{bag.path}: {bag.damage}; what is whole is taken',) if bag.damage else ()
    return ImageInput(
        _recorded(bag, omissions), len(stamps), own or FALLBACK_RATE,
        (*damage, *bag.camera.remarks), omissions, bag.image_range, bag.frame_id, strict)


def _open_folder(
        path: Path, rate: float, strict: bool, limits: Limits | None) -> ImageInput:
    """
    Return the images of a folder.

    :raises DataError: if two of them differ in their suffix alone: so would their output files.
    """
    folder = PictureFolder(path, rate, limits)
    folder.check_names()

    def images() -> Iterator[InputImage]:
        for frame in folder.frames():
            try:
                image = frame.read()
            except DataError as error:
                if strict:
                    raise
                folder.omissions.add(str(error))
                continue
            yield InputImage(frame.name, _stamp(frame.seconds, 1 / rate), image)

    return ImageInput(
        images(), folder.count, rate, tuple(folder.remarks()), folder.omissions,
        strict=strict)


def _recorded(bag: Bag, omissions: Omissions) -> Iterator[InputImage]:
    """
    Yield every image of a recording, in the order of the stamps.

    :param omissions: gets the messages that cannot be decoded.
    :raises DataError: for the first of them, if the recording is read strictly.
    """
    with bag:
        calibrations = calibrations_of(bag)
        roles = ['image', *(role for role in bag.roles if role.startswith(TRUE))]
        for record in bag.records(roles=roles):
            image = record.image
            if image is None:
                continue

            known, info = calibrations.intrinsics(record.stamp_ns, image.shape)
            yield InputImage(
                str(record.stamp_ns), record.stamp_ns, image, info, record.truth, known)

        # A gap in the output must not go unnoticed.
        for topic, reasons in bag.skipped.items():
            for reason, count in reasons.items():
                frames = count if topic == bag.camera.image else 0
                omissions.add(f'{bag.path}: {topic}: {count} x {reason}', frames)
        if bag.duplicates:
            omissions.add(f'{bag.path}: {bag.duplicates} messages have a stamp that was there '
                          'before; the first of each counts', 0)
        if remark := bag.image_range.remark():
            omissions.add(f'{bag.path}: {remark}', 0)


def _decoded(video: Video, rate: float, strict: bool) -> Iterator[InputImage]:
    """
    Yield every frame of a video.

    :param rate: frames per second, 0 for the times that the video has.
    :raises DataError: with ``strict``, if it cannot be decoded, or ends before its end.
    """
    step = 1 / (rate or video.rate or FALLBACK_RATE)
    for number, frame in enumerate(video.frames(strict)):
        seconds = number * step if rate else frame.seconds
        yield InputImage(frame.name, _stamp(seconds, step), frame.read())


def _stamp(seconds: float, step: float) -> int:
    """Return nanoseconds from one step after zero on, because zero means that it is not set."""
    return round((seconds + step) * 1e9)
