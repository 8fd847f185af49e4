# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Declare one parameter of a node as the tables describe it."""

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from mtl_perception.ros.declarations import Declaration


def declare(node: Node, declaration: Declaration) -> str:
    """
    Declare a parameter; in place of a wrong value that was given it gets its default.

    :return: what is wrong with the value that was given, empty if it is valid.
    """
    problem = given_problem(node, declaration)
    node.declare_parameter(
        declaration.name, declaration.default, _descriptor(declaration),
        ignore_override=bool(problem))
    return problem


def given_problem(node: Node, declaration: Declaration) -> str:
    """Return what is wrong with the value that was given at the start, empty if nothing is."""
    given = node._parameter_overrides.get(declaration.name)
    return '' if given is None else value_problem(declaration, given)


def value_problem(declaration: Declaration, parameter: Parameter) -> str:
    """Return what is wrong with a value, empty if it is valid."""
    kind = str(parameter.type_.name).lower().replace('_array', ' array')
    return (declaration.wrong_kind(kind, parameter.value)
            or declaration.problem(parameter.value))


def _descriptor(declaration: Declaration) -> ParameterDescriptor:
    """Return what ``ros2 param describe`` shows."""
    descriptor = ParameterDescriptor(
        description=declaration.text, read_only=declaration.read_only,
        dynamic_typing=bool(declaration.also))
    if declaration.choices:
        descriptor.additional_constraints = declaration.allowed
    if declaration.bounds is None:
        return descriptor

    low, high = declaration.bounds
    if isinstance(declaration.default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high))]
    else:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    return descriptor
