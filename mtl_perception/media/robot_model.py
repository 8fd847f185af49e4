# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the parts of a robot are, by its description (URDF), as far as no joint moves them."""

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError

Matrix = NDArray[np.float64]

LONGEST_TEXT = 16_000_000
"""Characters of a description; none is as long."""


@dataclass(frozen=True, eq=False)
class Joint:
    """
    What holds a link.

    :param name: of the joint.
    :param parent: name of the link that it is held by.
    :param pose: (4, 4) float64 metres, the link in its parent's frame.
    :param fixed: whether it never moves.
    """

    name: str
    parent: str
    pose: Matrix
    fixed: bool


class RobotModel:
    """
    The links of a robot.

    :param text: a URDF, as on ``robot_description``.
    :raises ConfigurationError: if it is none.
    """

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST_TEXT:
            raise ConfigurationError(
                f'the robot description has {len(text)} characters, wanted at most {LONGEST_TEXT}')
        try:
            # expat itself refuses entities that grow without bound
            root = ElementTree.fromstring(text)  # noqa: S314
        except ElementTree.ParseError as error:
            raise ConfigurationError(f'the robot description is no XML: {error}') from error

        self._joints: dict[str, Joint] = {}
        """Link -> what holds it."""
        for element in root.findall('joint'):
            child, joint = _joint(element)
            if child in self._joints:
                raise ConfigurationError(
                    f'the robot description: link {child!r} hangs on two joints, '
                    f'{self._joints[child].name!r} and {joint.name!r}')
            self._joints[child] = joint

    def pose(self, parent: str, child: str) -> Matrix:
        """
        Return where a link is in the frame of another.

        :param parent: name of the link whose frame it is.
        :param child: name of the link.
        :return: (4, 4) float64, metres.
        :raises LookupError: if one of them is not there, or a joint between them moves.
        """
        upwards, downwards = self._path(child), self._path(parent)
        common = next((link for link in upwards if link in downwards), None)
        if common is None:
            raise LookupError(f'no joints connect {parent!r} and {child!r}')
        return np.asarray(
            np.linalg.inv(self._below(common, parent, downwards))
            @ self._below(common, child, upwards))

    def _path(self, link: str) -> list[str]:
        """Return the link and all that hold it, up to the root."""
        path = [link]
        while path[-1] in self._joints:
            parent = self._joints[path[-1]].parent
            if parent in path:
                raise LookupError(f'the joints above {link!r} form a circle')
            path.append(parent)
        return path

    def _below(self, top: str, link: str, path: list[str]) -> Matrix:
        """Return where a link is in the frame of one above it."""
        result = np.eye(4)
        for name in path[:path.index(top)]:
            joint = self._joints[name]
            if not joint.fixed:
                raise LookupError(f'joint {joint.name!r} above {link!r} moves')
            result = joint.pose @ result
        return result


def _joint(element: ElementTree.Element) -> tuple[str, Joint]:
    """Return the link that a joint holds, and the joint."""
    name = element.get('name', '')
    ends = [getattr(element.find(end), 'attrib', {}).get('link', '') for end in (
        'parent', 'child')]
    if not all(ends):
        raise ConfigurationError(
            f'the robot description: joint {name!r} lacks its parent or its child')

    origin = element.find('origin')
    place = _three(name, origin, 'xyz')
    roll, pitch, yaw = _three(name, origin, 'rpy')
    pose = np.eye(4)
    pose[:3, :3] = _turn(2, yaw) @ _turn(1, pitch) @ _turn(0, roll)
    pose[:3, 3] = place
    return ends[1], Joint(name, ends[0], pose, element.get('type') == 'fixed')


def _three(joint: str, origin: ElementTree.Element | None, name: str) -> list[float]:
    """Return three numbers of an origin, zeros where it has none."""
    text = '0 0 0' if origin is None else origin.get(name, '0 0 0')
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ConfigurationError(
            f'the robot description: {name} of joint {joint!r} is {text[:60]!r}, wanted three '
            'numbers')
    return numbers


def _turn(axis: int, angle: float) -> Matrix:
    """Return the (3, 3) rotation about an axis, 0 = x."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    result = np.eye(3)
    result[first, first] = result[second, second] = math.cos(angle)
    result[second, first] = math.sin(angle)
    result[first, second] = -math.sin(angle)
    return result
