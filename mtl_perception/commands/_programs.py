# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Verbs that are programs on the ROS graph: this process becomes the program."""

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.processes import PROFILE, share_file
from mtl_perception.middleware import check_environment, check_libraries

MODULE = 'mtl_perception.programs'
NEEDS = {'recorder': ('rosbags', 'evaluate'), 'player': ('rosbags', 'evaluate'),
         'viewer': ('rerun', 'view')}
"""Program -> the module that it needs beside ROS, and the extra that brings it."""


def add_ros_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what every node takes."""
    parser.add_argument(
        '--ros-args', nargs=argparse.REMAINDER, default=[],
        help='what follows is for ROS, such as -r /image_raw:=/camera/image_raw')


def become(
        program: str, words: Sequence[str], ros_words: Sequence[str] = (), remark: str = '',
) -> NoReturn:
    """
    Replace this process by a program of :mod:`mtl_perception.programs`, signals and all.

    :param program: its name.
    :param words: its arguments.
    :param ros_words: those of ROS.
    :param remark: is printed once nothing is missing.
    :raises ConfigurationError: if there is no ROS here, a variable of it is wrong, or a library of
        the program is missing.
    """
    module, extra = NEEDS[program]
    if importlib.util.find_spec(module) is None:
        raise ConfigurationError(
            f"pip install 'mtl_perception[{extra}]' brings the Python module {module!r}, which is "
            'not installed')
    check_libraries()
    check_environment()
    if remark:
        print(remark)

    # with the default profile, large images are lost between processes
    profile = share_file('config/fastdds.xml')
    if profile is not None:
        os.environ.setdefault(PROFILE, str(profile))

    arguments = [sys.executable, '-m', MODULE, program, *words]
    if ros_words:
        arguments += ['--ros-args', *ros_words]
    sys.stdout.flush()
    os.execv(sys.executable, arguments)  # noqa: S606  (a list, and no shell)
