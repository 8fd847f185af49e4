# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl view``: the topics of the node in a browser, without RViz."""

import argparse

from mtl_perception.commands._programs import add_ros_arguments, become


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl view``."""
    parser.add_argument(
        '--namespaces', nargs='+', default=[], metavar='NAMESPACE',
        help='only the cameras of these namespaces, such as front (default: all)')
    parser.add_argument(
        '--points', action='store_true',
        help='show the topic points too; depth is shown as points anyway')
    parser.add_argument(
        '--rate', type=float, default=10.0,
        help='most messages of a topic that are shown in a second (default: 10)')

    parser.add_argument('--port', type=int, default=9876, help='of the data (default: 9876)')
    parser.add_argument(
        '--web-port', type=int, default=9090, help='of the page (default: 9090)')
    parser.add_argument(
        '--memory', default='1GiB',
        help='for what was shown; the oldest goes first (default: 1GiB)')
    parser.add_argument('--open', action='store_true', help='open the page in the browser')
    add_ros_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show topics until a signal comes."""
    words = [f'--rate={arguments.rate}', f'--port={arguments.port}',
             f'--web-port={arguments.web_port}', f'--memory={arguments.memory}']
    words += ['--points'] * arguments.points + ['--open'] * arguments.open
    if arguments.namespaces:
        words += ['--namespaces', *arguments.namespaces]
    become('viewer', words, arguments.ros_args)
