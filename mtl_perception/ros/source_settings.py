# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the node ``camera_source``: one table, and the dataclasses it is read into."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtl_perception.errors import ConfigurationError
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.ros.declarations import Declaration, range_problem

MANY = 1 << 31

_PARAMETERS = (
    Declaration('source', 'street', 'street, a video file, a folder of images, a picture, a '
                'device such as /dev/video0, or an address such as rtsp://camera/stream'),
    Declaration('rate', 10.0, 'frames per second; a video plays by its own times, and of more '
                'frames some are skipped; 0 = all frames of a video, what the device has. A '
                'change comes after the pictures that are read ahead', bounds=(0.0, 1000.0),
                dynamic=True),
    Declaration('loop', False, 'start a video or a folder again at its end'),
    Declaration('width', 0, "width of the images, pixels; 0 = the source's own",
                bounds=(0, 16384)),
    Declaration('height', 0, "height of the images, pixels; 0 = the source's own",
                bounds=(0, 16384)),
    Declaration('image.range', 'auto', 'the numbers that become black and white in pictures of '
                'more than 8 bits, such as [7000, 8600]; auto finds them', check=range_problem,
                also='integer array'),
    Declaration('start_index', 0, 'index of the first picture', bounds=(0, MANY)),
    Declaration('seed', 20000, 'seed of the first street', bounds=(0, MANY)),
    Declaration('seeds', 1, 'number of streets, with the seeds seed, seed + 1 and so on',
                bounds=(1, 10000)),
    Declaration('seconds_per_street', 5.0, "time until the next street's turn, seconds",
                bounds=(0.0, 1e6)),
    Declaration('frame_id', 'camera_optical_frame', 'frame of the images: x right, y down, '
                'z forward'),
    Declaration('compressed', False, 'publish image_raw/compressed (JPEG) in place of image_raw'),
    Declaration('jpeg_quality', 92, 'quality of compressed images', bounds=(1, 100)),
    Declaration('camera_info_file', '', 'calibration file that camera_calibration wrote'),
    Declaration('focal_px', 0.0, 'focal length without such a file, pixels; 0 = unknown',
                bounds=(0.0, 1e6)),
    Declaration('truth', True, "publish the street's ground truth"),
    Declaration('frames', 0, 'number of frames; 0 = endless', bounds=(0, MANY)),
    Declaration('duration', 0.0, 'duration in seconds, instead of the number; 0 = endless',
                bounds=(0.0, 1e9)),
    Declaration('ahead', 8, 'number of pictures that are read ahead of time', bounds=(1, 1000)),
    Declaration('wait_for_subscribers', 0, 'subscribers of the image before the first frame',
                bounds=(0, 100)),
    Declaration('settle', 1.0, 'seconds between the last of them and the first frame',
                bounds=(0.0, 60.0)),
)
PARAMETERS = tuple(
    dataclasses.replace(one, read_only=not one.dynamic) for one in _PARAMETERS)
"""All of them; what is not dynamic keeps its value from the start on."""


@dataclass(frozen=True)
class SourceSettings:
    """
    What a source needs to know.

    :param source: ``street``, a video file, a folder of images, a picture, a device such as
        ``/dev/video0``, or an address such as ``rtsp://camera/stream``.
    :param rate: pictures per second, of a video at most; 0 = all that the source has.
    :param loop: start again at the end.
    :param width: width of the pictures, pixels; 0 = the source's own.
    :param height: height of the pictures, pixels; 0 = the source's own.
    :param image_range: what becomes black and white in pictures of more than 8 bits.
    :param start_index: index of the first picture.
    :param seed: seed of the (first) street.
    :param seeds: number of streets, with the seeds ``seed``, ``seed + 1`` and so on.
    :param seconds_per_street: time until the next street's turn, seconds.
    :raises ConfigurationError: if a value is out of range.
    """

    source: str = 'street'
    rate: float = 10.0
    loop: bool = False
    width: int = 0
    height: int = 0
    image_range: str | Sequence[int] = 'auto'
    start_index: int = 0
    seed: int = 20000
    seeds: int = 1
    seconds_per_street: float = 5.0

    def __post_init__(self) -> None:
        values = vars(self)
        wrong = [
            problem for one in PARAMETERS
            if one.field in values and (problem := one.problem(values[one.field]))]
        if self.seeds > 1 and not self.seconds_per_street > 0:
            wrong.append(f"parameter 'seconds_per_street' is {self.seconds_per_street}, wanted "
                         'more than 0 with several streets')
        if wrong:
            raise ConfigurationError('; '.join(wrong), ReasonCode.BAD_PARAMETER)


@dataclass(frozen=True)
class CameraSettings:
    """
    The settings of the node, see :data:`PARAMETERS`.

    :param source: what the source itself needs.
    :param frames: number of frames; 0 = endless.
    :param duration: of the pictures by their own times, seconds; 0 = endless.
    :param settle: pause after the last subscriber came, seconds.
    """

    source: SourceSettings
    frame_id: str
    compressed: bool
    jpeg_quality: int
    camera_info_file: str
    focal_px: float
    truth: bool
    frames: int
    duration: float
    ahead: int
    wait_for_subscribers: int
    settle: float


def camera_settings_of(values: Mapping[str, Any]) -> CameraSettings:
    """
    Return the settings.

    :param values: of every parameter by ``Declaration.field``, checked.
    :raises ConfigurationError: if two of them do not go together.
    """
    rest = dict(values)
    source = SourceSettings(**{
        name: rest.pop(name) for name in SourceSettings.__dataclass_fields__})

    # a duration is another way to say the number of frames
    duration = rest['duration']
    if duration and not rest['frames']:
        if not source.rate:
            raise ConfigurationError(
                "parameter 'duration' needs a rate, which is 0; give 'frames' instead",
                ReasonCode.BAD_PARAMETER)
        rest['frames'] = max(1, round(duration * source.rate))
    return CameraSettings(source=source, **rest)
