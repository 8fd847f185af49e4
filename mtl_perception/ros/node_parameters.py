# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Declare the parameters of a node from a table, and watch over them.

A wrong value never ends the process from here. It is remembered, and reading the parameters fails
with a message that names it; setting the parameter to a valid value corrects it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from mtl_perception.errors import ConfigurationError
from mtl_perception.name_checks import nearest_hint
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.ros.declarations import LONGEST_VALUE, Declaration
from mtl_perception.ros.declaring import declare, value_problem
from mtl_perception.ros.log_text import printable
from mtl_perception.ros.qos_overrides import PREFIX, override_problems, unused_overrides

FOREIGN = re.compile(r'use_sim_time|start_type_description_service')
"""Parameters of rclpy itself."""


class NodeParameters:
    """
    The parameters of one node.

    :param node: has not declared them yet.
    :param declarations: all of them.
    :param refusal: returns why all of them together cannot change so while the node is configured,
        empty if they can; by ``Declaration.field``.
    :param on_change: called after a change, when the node is configured; must not raise.
    """

    def __init__(
        self, node: Node, declarations: Sequence[Declaration],
        refusal: Callable[[Mapping[str, Any]], str] = lambda values: '',
        on_change: Callable[[], object] = lambda: None,
    ) -> None:
        self._node = node
        self._known = {declaration.name: declaration for declaration in declarations}
        self._wrong: dict[str, str] = {}
        self._refusal = refusal
        self._on_change = on_change
        self.configured = False
        """Whether the node holds settings, so that only dynamic parameters may change."""

        for declaration in declarations:
            if problem := declare(node, declaration):
                self._wrong[declaration.name] = problem
                node.get_logger().error(problem)
        self.unknown: dict[str, str] = {}
        """Names that were given and do not exist, each with a hint at the nearest one."""
        self._report(self._unknown())
        node.add_on_set_parameters_callback(self._on_set)
        node.add_post_set_parameters_callback(self._after_set)

    def read(self) -> dict[str, Any]:
        """
        Return the values of all parameters by ``Declaration.field``, checked.

        :raises ConfigurationError: that names every wrong one.
        """
        wrong = list(self._wrong.values())
        values: dict[str, Any] = {}
        for name, declaration in self._known.items():
            value = self._node.get_parameter(name).value
            values[declaration.field] = value
            if name not in self._wrong and (problem := declaration.problem(value)):
                wrong.append(problem)

        wrong += self._refused_names()
        if wrong:
            raise ConfigurationError('; '.join(wrong), ReasonCode.BAD_PARAMETER)
        return values

    def check_topics(self) -> None:
        """
        Check the overrides of the quality of service, which needs the topics to be there.

        One that no topic takes is reported as an unknown parameter.

        :raises ConfigurationError: that names every wrong one.
        """
        others = {
            name: hint for name, hint in self.unknown.items() if not name.startswith(PREFIX)}
        self._report({**others, **unused_overrides(self._node)})
        if wrong := override_problems(self._node) + self._refused_names():
            raise ConfigurationError('; '.join(wrong), ReasonCode.BAD_PARAMETER)

    def _report(self, unknown: dict[str, str]) -> None:
        """Remember the names that do not exist, and log those that are new."""
        for name, hint in unknown.items():
            if name not in self.unknown:
                self._node.get_logger().warning(
                    f'parameter {name!r} does not exist and is ignored{hint}')
        self.unknown = unknown

    def _refused_names(self) -> list[str]:
        """Return the problems of names that do not exist, if those are to be refused."""
        strict = 'strict_parameters'
        if strict not in self._known or not self._node.get_parameter(strict).value:
            return []
        return [f'parameter {name!r} does not exist{hint}' for name, hint in self.unknown.items()]

    def _unknown(self) -> dict[str, str]:
        """Return the overrides that no parameter takes, each with a hint at the nearest one."""
        return {
            printable(name, LONGEST_VALUE): nearest_hint(name, self._known)
            for name in self._node._parameter_overrides
            if not self._node.has_parameter(name) and not FOREIGN.fullmatch(name)
            and not name.startswith(PREFIX)}

    def _on_set(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        """Accept or refuse a change; an exception here would end the node's spin."""
        try:
            problems = [text for one in parameters if (text := self._change_problem(one))]
            if self.configured and not problems:
                problems = [text for text in [self._refusal(self._values(parameters))] if text]
        except Exception as error:  # noqa: BLE001  (any peer could end the process otherwise)
            problems = [printable(f'could not be checked: {type(error).__name__}: {error}')]

        if not problems:
            for one in parameters:
                self._wrong.pop(one.name, None)
        return SetParametersResult(successful=not problems, reason='; '.join(problems))

    def _after_set(self, parameters: Sequence[Parameter]) -> None:
        """Tell the node, once for all parameters that were set together."""
        if self.configured and any(one.name in self._known for one in parameters):
            self._on_change()

    def _values(self, changes: Sequence[Parameter]) -> dict[str, Any]:
        """Return the values of all parameters by ``Declaration.field``, with some changed."""
        values = {declaration.field: self._node.get_parameter(name).value
                  for name, declaration in self._known.items()}
        return values | {self._known[one.name].field: one.value
                         for one in changes if one.name in self._known}

    def _change_problem(self, parameter: Parameter) -> str:
        declaration = self._known.get(parameter.name)
        if declaration is None:
            return '' if parameter.name else 'a parameter has a name'  # rclpy would take it
        if self.configured and not declaration.dynamic:
            return (f'parameter {parameter.name!r} cannot change while the node is configured; '
                    'deactivate, clean up, set it, and configure again')
        return value_problem(declaration, parameter)
