# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl play``: the messages of a rosbag2 onto the graph, without rosbag2."""

import argparse

from mtl_perception.commands._options import path_argument
from mtl_perception.commands._programs import add_ros_arguments, become


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl play``."""
    parser.add_argument(
        'bag', type=path_argument, help="a rosbag2's folder or file, mcap or sqlite3")
    parser.add_argument(
        '--topics', nargs='+', default=[], metavar='TOPIC',
        help='the only ones that are played (default: all)')

    parser.add_argument(
        '--rate', type=float, default=1.0, help='how much faster than recorded (default: 1)')
    parser.add_argument('--loop', action='store_true', help='start again at the end')

    parser.add_argument(
        '--clock', type=float, nargs='?', const=100.0, default=0.0, metavar='HZ',
        help='publish the time of the recording on /clock, for nodes with use_sim_time (100 Hz if '
        'no number is given)')
    parser.add_argument(
        '--delay', type=float, default=1.0, metavar='SECONDS',
        help='before the first message, in which subscribers find the topics (default: 1)')
    add_ros_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Play to the end or until a signal comes."""
    words = [str(arguments.bag), f'--rate={arguments.rate}', f'--clock={arguments.clock}',
             f'--delay={arguments.delay}']
    if arguments.loop:
        words.append('--loop')
    if arguments.topics:
        words += ['--topics', *arguments.topics]
    become('player', words, arguments.ros_args)
