# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl record``: topics of the graph into a rosbag2 (mcap), without rosbag2."""

import argparse
import time
from pathlib import Path

from mtl_perception.commands._options import path_argument
from mtl_perception.commands._programs import add_ros_arguments, become


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl record``."""
    parser.add_argument(
        'topics', nargs='*', metavar='TOPIC[:TYPE]',
        help='what is recorded; with its type a topic is heard from its first message on '
        '(default: every topic of the node and its cameras, whenever it appears)')
    parser.add_argument(
        '--namespaces', nargs='+', default=[], metavar='NAMESPACE',
        help='without topics, only those of these namespaces, such as front')
    parser.add_argument(
        '--output', type=path_argument,
        help='folder of the new bag; one that exists is kept, and the new one gets the date '
        'behind its name (default: camera_bag_DATE)')
    parser.add_argument('--compress', action='store_true', help='compress the file with zstd')
    add_ros_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Record until a signal comes; the exit code is 5 if the disk is full or too slow."""
    folder = new_folder(arguments.output)
    words = ['--output', str(folder)]
    if arguments.topics:
        words += ['--topics', *arguments.topics]
    if arguments.namespaces:
        words += ['--namespaces', *arguments.namespaces]
    if arguments.compress:
        words.append('--compress')

    become('recorder', words, arguments.ros_args, f'recording into {folder}; Ctrl-C ends it')


def new_folder(wanted: Path | None) -> Path:
    """Return the folder of a new bag: no drive is written over another, and none is lost."""
    date = time.strftime('%Y_%m_%d-%H_%M_%S')
    if wanted is None:
        wanted = Path(f'camera_bag_{date}')
    if not wanted.exists():
        return wanted

    names = (wanted.with_name(f'{wanted.name}_{date}{ending}')
             for ending in ('', *(f'_{number}' for number in range(2, 1000))))
    return next(path for path in names if not path.exists())
