# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl predict``: send every frame of a video, a folder or a rosbag2 through a model."""

import argparse
import math
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mtl_perception.commands._options import add_engine_options, load_engine, progress
from mtl_perception.errors import ConfigurationError, StorageError
from mtl_perception.evaluation.bag_output import BagOutput
from mtl_perception.evaluation.image_inputs import InputImage, open_input
from mtl_perception.evaluation.pictures import Painter
from mtl_perception.evaluation.predict import BAG, VIDEO, FolderWriter, check_output, predict
from mtl_perception.evaluation.video_writer import VideoWriter
from mtl_perception.frames import FrameRecord, Perception


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl predict``."""
    parser.add_argument(
        'source', type=Path, help='a video, a folder of images, or a rosbag2 (mcap or sqlite3)')
    parser.add_argument(
        '--model', default='street', help='shipped name or .safetensors file (street)')
    parser.add_argument(
        '--output', type=Path, default=Path('predicted.mp4'),
        help='NAME.mp4 for a video with all predictions side by side; NAME.mcap for a rosbag2 in '
        'the folder NAME, with the topics of the node; else a folder of PNG files '
        '(default: predicted.mp4)')

    # what the source does not say of itself
    parser.add_argument(
        '--rate', type=float, default=0.0,
        help='images per second (default: that of the video or rosbag2, 10 for a folder)')
    parser.add_argument('--namespace', default='', help='of the camera in a rosbag2')
    parser.add_argument(
        '--focal-length', type=float, default=0.0, metavar='PIXELS',
        help='of the camera at the width of its images; depth in metres needs it')
    parser.add_argument(
        '--camera-height', type=float, default=0.0, metavar='METRES',
        help='of the camera above the ground; depth in metres needs it (default: as in training)')

    parser.add_argument('--precision', default='fp32', help='fp32, bf16, fp16 (default: fp32)')
    add_engine_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl predict``."""
    given = {
        '--rate': arguments.rate, '--focal-length': arguments.focal_length,
        '--camera-height': arguments.camera_height}
    for name, value in given.items():
        if not 0 <= value < math.inf:
            raise ConfigurationError(f'{name} is {value:g}; it must be a number of at least 0')
    output = arguments.output
    suffix = output.suffix.lower()
    check_output(arguments.source, output)

    source = open_input(arguments.source, arguments.rate, arguments.namespace)
    if threading.current_thread() is threading.main_thread():
        # SIGTERM takes the way of Ctrl-C, so that the writers below can clean up
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    engine = load_engine(arguments, arguments.precision)
    focal = arguments.focal_length or None
    height = arguments.camera_height
    tasks = engine.manifest.tasks

    def show(images: Iterable[Any]) -> Iterable[Any]:
        return progress(images, 'frames', source.count or None)

    if suffix == VIDEO:
        painter = Painter(tasks)
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f'{output}: cannot be written ({error})') from error
        with VideoWriter(output, source.rate) as video:
            def draw(shown: InputImage, prediction: Perception) -> None:
                record = FrameRecord(shown.stamp_ns, shown.image, prediction)
                video.add(painter.draw(record, [shown.name]))

            done = predict(engine, source, draw, focal, show, height)

    elif suffix == BAG:
        output = output.with_suffix('')
        with BagOutput(output, tasks, arguments.namespace) as bag:
            done = predict(engine, source, bag.take, focal, show, height)

    else:
        task = engine.manifest.task('detection')
        writer = FolderWriter(output, () if task is None else task.classes)
        try:
            done = predict(engine, source, writer.take, focal, show, height)
        finally:
            writer.finish()

    count, unknown = done
    print(f'{count} frames: {output}')
    if unknown:
        print(unknown)
    return 0
