# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the node ``camera_source``, read once into a frozen dataclass."""

from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from mtl_perception.errors import ConfigurationError
from mtl_perception.ros.image_sources import SourceSettings

MANY = 1 << 31

PARAMETERS: dict[str, tuple[Any, tuple[float, float] | None, str]] = {
    'source': ('street', None,
               'street, a video file, a folder of images, or a device such as /dev/video0'),
    'rate': (10.0, (0.0, 1000.0), 'frames per second; 0 = what the video or the device has'),
    'loop': (False, None, 'start a video or a folder again at its end'),
    'width': (0, (0, 16384), "width of the images, pixels; 0 = the source's own"),
    'height': (0, (0, 16384), "height of the images, pixels; 0 = the source's own"),
    'start_index': (0, (0, MANY), 'index of the first picture'),
    'seed': (20000, (0, MANY), 'seed of the first street'),
    'seeds': (1, (1, 10000), 'number of streets, with the seeds seed, seed + 1 and so on'),
    'seconds_per_street': (5.0, (0.0, 1e6), "time until the next street's turn, seconds"),
    'frame_id': ('camera_optical_frame', None, 'frame of the images: x right, y down, z forward'),
    'compressed': (False, None, 'publish image_raw/compressed (JPEG) in place of image_raw'),
    'jpeg_quality': (92, (1, 100), 'quality of compressed images'),
    'camera_info_file': ('', None, 'calibration file that camera_calibration wrote'),
    'focal_px': (0.0, (0.0, 1e6), 'focal length without such a file, pixels; 0 = unknown'),
    'truth': (True, None, "publish the street's labels to whoever subscribes"),
    'frames': (0, (0, MANY), 'number of frames; 0 = endless'),
    'duration': (0.0, (0.0, 1e9), 'duration in seconds, instead of the number; 0 = endless'),
    'ahead': (8, (1, 1000), 'how many pictures are fetched ahead of time'),
    'wait_for_subscribers': (0, (0, 100), 'subscribers of the image before the first frame'),
    'settle': (1.0, (0.0, 60.0), 'seconds between the last of them and the first frame'),
}
"""Name -> default, range (or None), description."""


@dataclass(frozen=True)
class CameraSettings:
    """
    The parameters, see :data:`PARAMETERS`.

    :param source: what the source itself needs.
    :param frames: number of frames; 0 = endless.
    :param settle_s: pause after the last subscriber came, seconds.
    """

    source: SourceSettings
    frame_id: str
    compressed: bool
    jpeg_quality: int
    camera_info_file: str
    focal_px: float
    truth: bool
    frames: int
    ahead: int
    wait_for_subscribers: int
    settle_s: float


def declare_settings(node: Node) -> CameraSettings:
    """
    Declare the parameters of the node, read-only, and read them.

    :raises ConfigurationError: if one has the wrong type or is out of range.
    """
    values = {name: _declare(node, name) for name in PARAMETERS}
    source = SourceSettings(**{
        name: values[name] for name in SourceSettings.__dataclass_fields__})
    frames = values['frames']
    if values['duration'] and not frames:
        if not source.rate:
            raise ConfigurationError(
                'camera_source: a duration needs a rate; give the number of frames instead')
        frames = max(1, round(values['duration'] * source.rate))
    return CameraSettings(
        source=source, frames=frames, settle_s=values['settle'],
        **{name: values[name] for name in (
            'frame_id', 'compressed', 'jpeg_quality', 'camera_info_file', 'focal_px', 'truth',
            'ahead', 'wait_for_subscribers')})


def _declare(node: Node, name: str) -> Any:
    default, limits, text = PARAMETERS[name]
    descriptor = ParameterDescriptor(description=text, read_only=True)
    if limits is not None and isinstance(default, int):
        descriptor.integer_range = [
            IntegerRange(from_value=int(limits[0]), to_value=int(limits[1]), step=0)]
    elif limits is not None:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=limits[0], to_value=limits[1], step=0.0)]
    try:
        return node.declare_parameter(name, default, descriptor).value
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        limit = f' from {limits[0]:g} to {limits[1]:g}' if limits else ''
        raise ConfigurationError(
            f'camera_source: parameter {name}: {error}; wanted a '
            f'{type(default).__name__}{limit}') from error
