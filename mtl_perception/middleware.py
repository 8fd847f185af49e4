# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The variables of the environment by which ROS 2 chooses its middleware and its neighbours.

With a middleware that is not installed rcl ends the process as soon as rclpy is imported, and a
domain that is none is taken for another or stops a node far from its cause. So they are looked at
before ROS is.
"""

import difflib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from mtl_perception.errors import ConfigurationError

PACKAGES = {
    'rmw_fastrtps_cpp': 'rmw-fastrtps-cpp', 'rmw_cyclonedds_cpp': 'rmw-cyclonedds-cpp',
    'rmw_connextdds': 'rmw-connextdds', 'rmw_zenoh_cpp': 'rmw-zenoh-cpp',
    'rmw_fastrtps_dynamic_cpp': 'rmw-fastrtps-dynamic-cpp'}
"""Middleware -> end of the name of its package."""

LARGEST_DOMAIN = 232
"""Beyond it the number of a port would be larger than 65535."""
SAFE_DOMAIN = 101
"""Beyond it Linux may give the ports to other programs."""
SHARED_MEMORY = Path('/dev/shm')  # noqa: S108  (where Fast DDS keeps its segments)
RANGES = ('SUBNET', 'LOCALHOST', 'OFF', 'SYSTEM_DEFAULT')


class Remark(NamedTuple):
    """
    What is odd about a variable.

    :param wrong: whether nothing can work with it; else it may be meant.
    :param text: which variable, what it is, what was wanted and what to do.
    """

    wrong: bool
    text: str


def environment_remarks(environment: Mapping[str, str] = os.environ) -> list[Remark]:
    """Return everything that is odd about the variables of ROS 2."""
    return [*_middleware(environment), *_domain(environment), *_discovery(environment)]


LIBRARIES = ('rclpy', 'sensor_msgs', 'std_msgs', 'std_srvs', 'diagnostic_msgs')
"""What every program on the ROS graph needs."""


def missing_library() -> str:
    """Return which library of ROS 2 is not installed, empty if all are."""
    return next((name for name in LIBRARIES if importlib.util.find_spec(name) is None), '')


def lack_of(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return how to get a library of ROS 2 that is not installed."""
    if distribution := environment.get('ROS_DISTRO'):  # a part of it is there
        return (f'sudo apt install ros-{distribution}-{name.replace("_", "-")} brings the Python '
                f'module {name!r}, which is not installed')
    return (f"pip install 'mtl_perception[ros-wheels]' brings the Python module {name!r}, which "
            'is not installed; where ROS 2 is, source its setup.bash instead')


def check_libraries() -> None:
    """
    Refuse to start programs on a ROS graph where ROS 2 is not.

    :raises ConfigurationError: which says how to get it.
    """
    if name := missing_library():
        raise ConfigurationError(lack_of(name))


def check_environment() -> None:
    """
    End the process if ROS 2 cannot start in this environment.

    rcl would do so itself, in words that do not tell what to do.

    :raises SystemExit: with code 2, after the reason was printed.
    """
    wrong = [remark.text for remark in environment_remarks() if remark.wrong]
    if wrong:
        print(f'cannot start: {"; ".join(wrong)}', file=sys.stderr)
        raise SystemExit(2)


def _middleware(environment: Mapping[str, str]) -> Iterator[Remark]:
    name = environment.get('RMW_IMPLEMENTATION', '')
    installed = installed_middleware(environment)
    if not name or not installed or name in installed:
        return

    advice = ''
    if name in PACKAGES:
        distribution = environment.get('ROS_DISTRO') or '$ROS_DISTRO'
        advice = f'install it (sudo apt install ros-{distribution}-{PACKAGES[name]}), or '
    nearest = (difflib.get_close_matches(name, installed, 1) or installed)[0]
    yield Remark(True, (
        f'RMW_IMPLEMENTATION is {name[:60]!r}, which is not installed here; {advice}take what is: '
        f'export RMW_IMPLEMENTATION={nearest}'))


def installed_middleware(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the names of the installed middleware, empty if they are in an unknown place."""
    prefixes = environment.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    folders = [*(Path(prefix) / 'lib' for prefix in [*prefixes, sys.prefix] if prefix),
               *map(Path, filter(None, environment.get('LD_LIBRARY_PATH', '').split(os.pathsep)))]
    names = {path.stem.removeprefix('lib') for folder in folders
             for path in folder.glob('librmw_*.so')}
    return sorted(name for name in names if name == 'rmw_connextdds' or (
        name.endswith('_cpp') and not name.endswith('_shared_cpp') and 'typesupport' not in name))


def _domain(environment: Mapping[str, str]) -> Iterator[Remark]:
    text = environment.get('ROS_DOMAIN_ID', '')
    if not text:
        return
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()) or int(digits[:6]) > LARGEST_DOMAIN \
            or (digits != '0' and digits.startswith('0')):
        yield Remark(True, (
            f'ROS_DOMAIN_ID is {text[:60]!r}, wanted a whole number from 0 to {LARGEST_DOMAIN}, '
            'the same for all that shall hear one another; unset it for 0'))
    elif int(digits) > SAFE_DOMAIN:
        yield Remark(False, (
            f'ROS_DOMAIN_ID is {digits}; above {SAFE_DOMAIN} other programs may hold its ports, '
            'so that a node does not start now and then: take a smaller one'))


def _discovery(environment: Mapping[str, str]) -> Iterator[Remark]:
    value = environment.get('ROS_AUTOMATIC_DISCOVERY_RANGE', '')
    if value and value not in RANGES:
        yield Remark(False, (
            f'ROS_AUTOMATIC_DISCOVERY_RANGE is {value[:60]!r}, wanted {" or ".join(RANGES)}; ROS '
            'takes it for LOCALHOST, so nodes on other machines are not found'))
    elif value == 'OFF':
        yield Remark(False, (
            'ROS_AUTOMATIC_DISCOVERY_RANGE is OFF: no node finds another one, not even on this '
            'machine; LOCALHOST or SUBNET lets them'))
    elif value == 'LOCALHOST':
        yield Remark(False, (
            'ROS_AUTOMATIC_DISCOVERY_RANGE is LOCALHOST: nodes on other machines are not found'))

    alone = environment.get('ROS_LOCALHOST_ONLY', '')
    if alone not in ('', '0', '1'):
        yield Remark(False, (
            f'ROS_LOCALHOST_ONLY is {alone[:60]!r}, wanted 0 or 1; ROS takes it for 0'))
    elif alone == '1':
        yield Remark(False, (
            'ROS_LOCALHOST_ONLY is 1: nodes on other machines are not found; newer versions of '
            'ROS have ROS_AUTOMATIC_DISCOVERY_RANGE in its place, which does not count beside it'))


def left_segments(folder: Path = SHARED_MEMORY) -> list[Path]:
    """
    Return the segments of Fast DDS's shared memory whose processes have been killed.

    Fast DDS locks a file ``fastdds_NAME_el`` beside the segment ``fastdds_NAME`` as long as the
    process lives, and removes both at its end. Those of other users may not be told.

    :param folder: where the segments are.
    """
    import fcntl  # not on Windows, where there is no such folder

    left = []
    for lock in sorted(folder.glob('fastdds_*_el')):
        segment = lock.with_name(lock.name.removesuffix('_el'))
        if segment.name.startswith('fastdds_port') or not segment.is_file():
            continue
        try:
            with lock.open('rb') as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # locked, gone, or of another user
            continue
        left.append(segment)
    return left
