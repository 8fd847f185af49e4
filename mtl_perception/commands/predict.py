# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl predict``: send every frame of a video, a folder or a rosbag2 through a model."""

import argparse
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mtl_perception.commands._options import (
    add_camera_options,
    add_depth_scale_option,
    add_engine_options,
    add_fit_options,
    add_precision_option,
    add_range_option,
    fit_of,
    load_engine,
    path_argument,
    progress,
)
from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.bag_output import BagOutput
from mtl_perception.evaluation.film_output import FilmOutput
from mtl_perception.evaluation.image_inputs import odometry_of, open_input
from mtl_perception.evaluation.predict import BAG, VIDEO, FolderWriter, check_output, predict
from mtl_perception.manifest import DEFAULT_MODEL, Manifest
from mtl_perception.media.calibration_file import read_calibration

AT_ORIGIN = (0.0, 0.0, 0.0, -0.5, 0.5, -0.5, 0.5)
"""Pose of a camera at the origin of the robot, looking ahead."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl predict``."""
    parser.add_argument(
        'source', type=path_argument,
        help='a video, a folder of images, a picture, or a rosbag2 (mcap or sqlite3)')
    parser.add_argument(
        '--model', default=DEFAULT_MODEL,
        help=f'name of a shipped model, or a .safetensors or .onnx file ({DEFAULT_MODEL})')
    parser.add_argument(
        '--output', type=path_argument, default=Path('predicted.mp4'),
        help='NAME.mp4 for a video with all predictions side by side; NAME.mcap for a rosbag2 in '
        'the folder NAME, with the topics of the node; else a folder of PNG files '
        '(default: predicted.mp4)')

    # what the source does not say of itself
    parser.add_argument(
        '--rate', type=float, default=0.0,
        help='images per second of a video or a folder (default: the times of the video, 10 for a '
        'folder); the images of a rosbag2 have stamps')

    parser.add_argument(
        '--strict', action='store_true',
        help='end at the first frame that cannot be read, or shown to the model, with exit code 3 '
        '(default: leave such frames out and count them)')

    # of the camera
    parser.add_argument('--namespace', default='', help='of the camera in a rosbag2')
    parser.add_argument(
        '--focal-length', type=float, default=0.0, metavar='PIXELS',
        help='of the camera at the width of its images; depth in metres needs it')
    parser.add_argument(
        '--calibration', default='', metavar='FILE',
        help='calibration file of the camera: a path, file:///path or package://NAME/path')
    add_camera_options(parser)
    parser.add_argument(
        '--camera-height', type=float, default=0.0, metavar='METRES',
        help='of the camera above the ground; depth in metres needs it (default: as in training)')

    add_depth_scale_option(parser)
    parser.add_argument(
        '--odometry-topic', default='', metavar='TOPIC',
        help='nav_msgs/Odometry of a rosbag2, for --depth-scale odometry and for motion')
    parser.add_argument(
        '--camera-pose', type=_pose, default=AT_ORIGIN, metavar='X,Y,Z,QX,QY,QZ,QW',
        help="of the camera's optical frame in the odometry's child frame, as the parameter "
        'motion.camera_pose (default: at its origin, looking ahead)')

    parser.add_argument(
        '--confidence', action='store_true',
        help='write how likely each class and depth is right, into a folder or a rosbag2')
    add_fit_options(parser)
    add_range_option(parser)
    add_engine_options(parser)
    add_precision_option(parser)


def _pose(text: str) -> tuple[float, ...]:
    """Return the seven numbers of a pose."""
    try:
        numbers = tuple(float(part) for part in text.split(','))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{text!r} is not seven numbers') from error
    if len(numbers) != 7 or not all(map(math.isfinite, numbers)) or not any(numbers[3:]):
        raise argparse.ArgumentTypeError(
            f'{text!r}: wanted x, y, z and a quaternion x, y, z, w: seven numbers')
    return numbers


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl predict``."""
    given = {
        '--rate': arguments.rate, '--focal-length': arguments.focal_length,
        '--camera-height': arguments.camera_height}
    for name, value in given.items():
        if not 0 <= value < math.inf:
            raise ConfigurationError(f'{name} is {value:g}; it must be a number of at least 0')
    if arguments.calibration and arguments.focal_length:
        raise ConfigurationError(
            '--calibration and --focal-length both give the focal length; give one of them')

    if arguments.depth_scale == 'odometry' and not arguments.odometry_topic:
        raise ConfigurationError(
            '--depth-scale odometry takes the way of the robot; name its topic in the recording '
            'with --odometry-topic')
    check_output(arguments.source, arguments.output)
    if arguments.confidence and arguments.output.suffix.lower() == VIDEO:
        raise ConfigurationError(
            '--confidence has no place in a video; give a folder or NAME.mcap as --output')

    calibration = read_calibration(arguments.calibration) if arguments.calibration else None
    source = open_input(
        arguments.source, arguments.rate, arguments.namespace, arguments.strict,
        arguments.image_range, arguments.image_topic, arguments.camera_info_topic)

    odometry = None
    if arguments.odometry_topic:
        odometry = odometry_of(
            arguments.source, arguments.odometry_topic, arguments.namespace,
            arguments.camera_pose).between

    for remark in source.remarks:
        _say(remark)
    engine = load_engine(arguments, arguments.precision)
    _say(f'model {engine.manifest.name}: {engine.setup}')

    def show(images: Iterable[Any]) -> Iterable[Any]:
        return progress(images, 'frames', source.count or None)

    output = _output(arguments, engine.manifest, source.rate, source.frame_id)
    try:
        with output:
            count, found = predict(
                engine, source, output.take, arguments.focal_length or None, show,
                arguments.camera_height, calibration, arguments.rectify or 'auto', _say,
                fit_of(arguments), arguments.confidence,
                arguments.depth_scale or 'network', odometry)
    except BaseException:
        if output.kept is not None:
            _say(f'the frames before it are kept in {output.kept}')
        raise

    print(f'{count} frames: {output.kept}')
    remarks = [*found, str(source.omissions), getattr(output, 'remark', '')]
    for text in filter(None, remarks):
        print(text)
    return 0


def _output(
        arguments: argparse.Namespace, manifest: Manifest, rate: float, frame_id: str,
) -> FilmOutput | BagOutput | FolderWriter:
    """Return what writes the kind of output that the suffix asks for."""
    path = arguments.output
    suffix = path.suffix.lower()
    if suffix == VIDEO:
        return FilmOutput(path, manifest.tasks, rate)
    if suffix == BAG:
        return BagOutput(path.with_suffix(''), manifest.tasks, arguments.namespace, frame_id)
    task = manifest.task('detection')
    return FolderWriter(path, () if task is None else task.classes)


def _say(text: str) -> None:
    """Print a remark beside the results."""
    print(f'mtl predict: {text}', file=sys.stderr)
