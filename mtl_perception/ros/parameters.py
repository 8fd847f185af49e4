# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The parameters of the perception node: one table, declared once, read into a frozen dataclass.

A wrong value never ends the process. It is remembered, and ``on_configure`` fails with a message
that names it; setting the parameter to something valid mends it.
"""

import difflib
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter

from mtl_perception.errors import ConfigurationError
from mtl_perception.ros.error_guards import printable

OutputSize = Literal['camera', 'network']
MotionChoice = Literal['auto', 'network']

MOST_CAMERAS = 16
CAMERA_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*')
DEVICE = re.compile(r'auto|cpu|cuda(:\d+)?')
FOREIGN = re.compile(r'use_sim_time|qos_overrides\..*|start_type_description_service')
"""Parameters of rclpy itself."""


@dataclass(frozen=True)
class Settings:
    """The parameters of the node, checked; the meaning of each is in :data:`PARAMETERS`."""

    cameras: tuple[str, ...]
    image_transport: str
    image_reliability: str
    model: str
    device: str
    precision: str
    threads: int
    max_age: float
    max_gap: float
    camera_timeout: float
    inference_timeout: float
    max_pixels: int
    output_size: OutputSize
    depth_camera_height: float
    depth_raw_16u: bool
    motion_head: MotionChoice
    motion_odometry_topic: str
    motion_camera_pose: tuple[float, ...]
    labels_period: float
    autostart: bool
    strict_parameters: bool


@dataclass(frozen=True)
class Declaration:
    """
    One parameter.

    :param name: dots become underscores in :class:`Settings`.
    :param default: also decides the type.
    :param text: what it does.
    :param choices: the values that a string may have; any if empty.
    :param bounds: smallest and largest value of a number.
    :param dynamic: whether it may change while the node is configured.
    :param read_only: whether it may change at all after the start.
    """

    name: str
    default: Any
    text: str
    choices: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    dynamic: bool = False
    read_only: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """Return what ``ros2 param describe`` shows."""
        descriptor = ParameterDescriptor(description=self.text, read_only=self.read_only)
        if self.choices:
            descriptor.additional_constraints = 'one of ' + ', '.join(self.choices)
        if self.bounds and isinstance(self.default, float):
            low, high = (float(bound) for bound in self.bounds)
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        elif self.bounds:
            lowest, highest = (int(bound) for bound in self.bounds)
            descriptor.integer_range = [IntegerRange(from_value=lowest, to_value=highest)]
        return descriptor


PARAMETERS = (
    Declaration('cameras', [''], "names of the cameras, each a namespace below the node's; an "
                "empty name is one camera in the node's own namespace"),
    Declaration('image_transport', 'raw', 'raw subscribes to image_raw, compressed to '
                'image_raw/compressed', choices=('raw', 'compressed')),
    Declaration('image_reliability', 'auto', 'reliability of the image subscription; auto '
                'matches what the publishers offer',
                choices=('auto', 'reliable', 'best_effort')),
    Declaration('model', 'street', 'name of a shipped model or path of a .safetensors file'),
    Declaration('device', 'auto', 'auto, cpu, cuda or cuda:N'),
    Declaration('precision', 'fp32', 'number format of the network',
                choices=('fp32', 'bf16', 'fp16')),
    Declaration('threads', 0, 'CPU threads of the network; 0 leaves the choice to the engine',
                bounds=(0, 256)),
    Declaration('max_age', 0.0, "drop frames older than this, seconds by the node's clock; "
                '0 = never (recordings played back without use_sim_time need that)',
                bounds=(0.0, 3600.0), dynamic=True),
    Declaration('max_gap', 0.5, 'start afresh if the previous frame is older than this, seconds '
                'between the stamps', bounds=(0.001, 3600.0)),
    Declaration('camera_timeout', 1.0, 'report a camera that sent nothing for this long, seconds',
                bounds=(0.05, 3600.0), dynamic=True),
    Declaration('inference_timeout', 10.0, 'a frame that takes longer is dropped; three times '
                'that long without an end, and the process ends with code 7, seconds',
                bounds=(0.1, 3600.0), dynamic=True),
    Declaration('max_pixels', 2 ** 25, 'refuse larger images before anything is allocated',
                bounds=(1, 2 ** 31)),
    Declaration('output.size', 'camera', 'size of the outputs: that of the camera image or that '
                'of the network', choices=('camera', 'network')),
    Declaration('depth.camera_height', 0.0, 'height of the cameras above the ground, metres; '
                'depth is scaled by it; 0 = that of the camera of the training',
                bounds=(0.0, 100.0)),
    Declaration('depth.raw_16u', False, 'publish depth/image_raw too: 16UC1 millimetres, '
                '0 = invalid'),
    Declaration('motion.head', 'auto', 'auto tells motion by the motion head of the model if it '
                "has one, network by the network's own decoder", choices=('auto', 'network')),
    Declaration('motion.odometry_topic', '', 'nav_msgs/Odometry of the robot for the motion head, '
                'instead of the estimate from the images; empty = none'),
    Declaration('motion.camera_pose', [0.0, 0.0, 0.0, -0.5, 0.5, -0.5, 0.5], 'x, y, z (metres) '
                "and quaternion x, y, z, w of the cameras' optical frame in the odometry's child "
                'frame; by default at its origin, looking ahead'),
    Declaration('labels.period', 10.0, 'repeat the latched label topics this often, seconds; '
                '0 = only on activation', bounds=(0.0, 3600.0), dynamic=True),
    Declaration('autostart', False, 'configure and activate without a lifecycle manager',
                read_only=True),
    Declaration('strict_parameters', False, 'refuse to configure if an unknown parameter was '
                'given', read_only=True),
)


class Parameters:
    """
    Declares :data:`PARAMETERS` on a node and watches over them.

    :param node: a node that has not declared them yet.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._known = {declaration.name: declaration for declaration in PARAMETERS}
        self._wrong: dict[str, str] = {}
        self.configured = False
        """Whether the node holds settings, so that only dynamic parameters may change."""
        self.changed = False
        """Whether a parameter was set since the last :meth:`read`."""
        for declaration in PARAMETERS:
            self._declare(declaration)
        self.unknown = self._unknown()
        for name, advice in self.unknown.items():
            node.get_logger().warning(f'parameter {name!r} does not exist and is ignored{advice}')
        node.add_on_set_parameters_callback(self._on_set)

    def read(self) -> Settings:
        """
        Return all parameters, checked.

        :raises ConfigurationError: that names every wrong one.
        """
        self.changed = False
        wrong = list(self._wrong.values())
        values: dict[str, Any] = {}
        for name in self._known:
            value = self._node.get_parameter(name).value
            values[name.replace('.', '_')] = value
            if name not in self._wrong and (problem := self._problem(name, value)):
                wrong.append(problem)
        if values['strict_parameters']:
            wrong += [f'parameter {name!r} does not exist{advice}'
                      for name, advice in self.unknown.items()]
        if wrong:
            raise ConfigurationError('; '.join(wrong), 'P01')
        values['cameras'] = tuple(values['cameras']) or ('',)
        values['motion_camera_pose'] = tuple(values['motion_camera_pose'])
        return Settings(**values)

    def _declare(self, declaration: Declaration) -> None:
        """Declare one parameter; a wrong override is remembered and the default declared."""
        name, default = declaration.name, declaration.default
        override = self._node._parameter_overrides.get(name)
        if override is not None and (problem := self._override_problem(declaration, override)):
            self._wrong[name] = problem
            self._node.get_logger().error(problem)
        self._node.declare_parameter(
            name, default, declaration.descriptor(), ignore_override=name in self._wrong)

    def _override_problem(self, declaration: Declaration, override: Parameter) -> str:
        wanted = Parameter.Type.from_parameter_value(declaration.default)
        if override.type_ != wanted:
            return (f'parameter {declaration.name!r} is {printable(repr(override.value), 60)} of '
                    f'type {_word(override.type_)}, wanted {_word(wanted)} '
                    f'such as {declaration.default!r}')
        return self._problem(declaration.name, override.value)

    def _problem(self, name: str, value: Any) -> str:
        """Return what is wrong with a value of the right type, empty if nothing."""
        declaration = self._known[name]
        shown = f'parameter {name!r} is {printable(repr(value), 60)}'
        if declaration.choices and value not in declaration.choices:
            near = difflib.get_close_matches(str(value), declaration.choices, 1)
            hint = f'; did you mean {near[0]!r}?' if near else ''
            return f'{shown}, wanted one of {list(declaration.choices)}{hint}'
        if declaration.bounds:
            low, high = declaration.bounds
            if not (math.isfinite(value) and low <= value <= high):
                return f'{shown}, wanted {low:g} to {high:g}'
        if name == 'device' and not DEVICE.fullmatch(value):
            return f'{shown}, wanted auto, cpu, cuda or cuda:N'
        if name == 'model' and not value:
            return f'{shown}, wanted the name of a shipped model or the path of a file'
        if name == 'motion.camera_pose' and not (
                len(value) == 7 and all(map(math.isfinite, value)) and any(value[3:])):
            return f'{shown}, wanted x, y, z and a quaternion x, y, z, w: seven numbers'
        return _cameras_problem(value) if name == 'cameras' else ''

    def _unknown(self) -> dict[str, str]:
        """Return the overrides that no parameter takes, each with a hint at the nearest one."""
        found: dict[str, str] = {}
        for name in self._node._parameter_overrides:
            if not self._node.has_parameter(name) and not FOREIGN.fullmatch(name):
                near = difflib.get_close_matches(name, self._known, 1)
                found[printable(name, 60)] = f'; did you mean {near[0]!r}?' if near else ''
        return found

    def _on_set(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        """Judge a change; an exception here would end the node's spin."""
        try:
            problems = [text for one in parameters if (text := self._change_problem(one))]
        except Exception as error:  # noqa: BLE001  (any peer could end the process otherwise)
            problems = [printable(f'could not be judged: {type(error).__name__}: {error}')]
        if not problems:
            for one in parameters:
                self._wrong.pop(one.name, None)
            self.changed = True
        return SetParametersResult(successful=not problems, reason='; '.join(problems))

    def _change_problem(self, parameter: Parameter) -> str:
        declaration = self._known.get(parameter.name)
        if declaration is None:
            return '' if parameter.name else 'a parameter has a name'  # rclpy would take it
        if self.configured and not declaration.dynamic:
            return (f'parameter {parameter.name!r} cannot change while the node is configured; '
                    'deactivate, clean up, set it, and configure again')
        return self._override_problem(declaration, parameter)


def _cameras_problem(names: Collection[str]) -> str:
    """Return what is wrong with the names of the cameras."""
    if list(names) in ([], ['']):
        return ''
    if len(names) > MOST_CAMERAS:
        return f"parameter 'cameras' has {len(names)} names, wanted at most {MOST_CAMERAS}"
    if len(set(names)) < len(names):
        return f"parameter 'cameras' names one twice: {printable(str(list(names)), 100)}"
    wrong = [printable(name, 40) for name in names if not CAMERA_NAME.fullmatch(name)]
    return (f"parameter 'cameras': {wrong} cannot be part of a topic's name; wanted letters, "
            'digits and _, starting with a letter') if wrong else ''


def _word(kind: Parameter.Type) -> str:
    return str(kind.name).lower().replace('_array', ' array')
