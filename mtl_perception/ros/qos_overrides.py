# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The quality of service of a node's topics, as parameters override it.

The parameters have the names that ROS 2 has agreed on, such as
``qos_overrides./semantic/image.publisher.depth``, with the full name of the topic after remapping.
They are read at the start of the node. rclpy would declare them too, but it raises on the first
wrong value, takes any combination, and says nothing about a name that is misspelt.
"""

import difflib
from collections import defaultdict
from typing import Any, Literal

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from mtl_perception.ros.declarations import LONGEST_VALUE, Declaration
from mtl_perception.ros.declaring import declare, given_problem
from mtl_perception.ros.log_text import printable

PREFIX = 'qos_overrides.'
MOST_MESSAGES = 10_000
BEST_AVAILABLE = 'best_available'
"""A subscription follows what the publishers offer."""

CHOICES = {
    'history': ('keep_last', 'keep_all'), 'depth': (), 'reliability': ('reliable', 'best_effort'),
    'durability': ('volatile', 'transient_local')}
"""Policy -> the names of its values; ``depth`` is a number of messages."""
ENUMERATIONS: dict[str, Any] = {
    'history': HistoryPolicy, 'reliability': ReliabilityPolicy, 'durability': DurabilityPolicy}
FOLLOWED = ('reliability', 'durability')
"""Policies in which a subscription can follow the publishers."""

Side = Literal['publisher', 'subscription']


def overridden(node: Node, topic: str, side: Side, default: QoSProfile) -> QoSProfile:
    """
    Declare the parameters of a topic's quality of service, and return what they say.

    A wrong value leaves the default; :func:`override_problems` names it.

    :param node: of the topic.
    :param topic: as given to ``create_publisher`` or ``create_subscription``.
    :param side: of the topic on which the node is.
    :param default: what is not overridden.
    """
    values: dict[str, Any] = {}
    for policy, enumeration in {**ENUMERATIONS, 'depth': None}.items():
        usual = getattr(default, policy)
        one = _declaration(
            f'{PREFIX}{node.resolve_topic_name(topic)}.{side}.{policy}',
            int(usual) if enumeration is None else usual.name.lower())
        if not node.has_parameter(one.name):  # it is there since an earlier configuration
            declare(node, one)
        value = node.get_parameter(one.name).value
        values[policy] = value if enumeration is None else enumeration[value.upper()]
    return QoSProfile(**values)


def override_problems(node: Node) -> list[str]:
    """Return what is wrong with the overrides that were given for the topics of a node."""
    problems = []
    for start, values in _declared(node).items():
        names = {policy: f'{start}.{policy}' for policy in values}
        if not names.values() & node._parameter_overrides.keys():
            continue

        wrong = [problem for policy, value in values.items()
                 if (problem := given_problem(node, _declaration(names[policy], value)))]
        problems += wrong or _contradictions(start, values)
    return [f'{problem}; it is read at the start of the node' for problem in problems]


def unused_overrides(node: Node) -> dict[str, str]:
    """
    Return the overrides that were given and that no topic of a node takes, each with a hint.

    To be called when the topics are there.
    """
    declared = _declared(node)
    return {printable(name, 2 * LONGEST_VALUE): _hint(name, list(declared))
            for name in node._parameter_overrides
            if name.startswith(PREFIX) and not node.has_parameter(name)}


def _declared(node: Node) -> dict[str, dict[str, Any]]:
    """Return the values of a node's policies, by the name without the policy."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for rest, parameter in node.get_parameters_by_prefix(PREFIX.rstrip('.')).items():
        start, _, policy = rest.rpartition('.')
        found[PREFIX + start][policy] = parameter.value
    return found


def _declaration(name: str, default: Any) -> Declaration:
    """Return how the parameter of a policy is declared."""
    start, _, policy = name.rpartition('.')
    topic, _, side = start.removeprefix(PREFIX).rpartition('.')
    choices = CHOICES[policy]
    if side == 'subscription' and policy in FOLLOWED:
        choices = (BEST_AVAILABLE, *choices)
    return Declaration(
        name, default, f'{policy} of the {side} of {topic}', choices=choices,
        bounds=None if choices else (1, MOST_MESSAGES), read_only=True)


def _contradictions(start: str, values: dict[str, Any]) -> list[str]:
    """Return why the policies of a topic do not go together."""
    found = []
    if values['durability'] == 'transient_local':
        if values['reliability'] == 'best_effort':
            found.append(
                f"{start}: durability 'transient_local' needs reliability 'reliable', because "
                "best_effort sends nothing again; set durability to 'volatile' or reliability to "
                "'reliable'")
        if values['history'] == 'keep_all':
            found.append(
                f"{start}: durability 'transient_local' with history 'keep_all' would keep every "
                "message for ever; set history to 'keep_last'")
    return found


def _hint(name: str, starts: list[str]) -> str:
    """Return a hint at the nearest name that exists, and at the policies."""
    start, _, policy = name.rpartition('.')
    policies = list(CHOICES)
    if start in starts:
        return f'; the policies of this topic are {policies}'

    # the same topic from the other side, else a similar name
    topic = start.rpartition('.')[0]
    near = ([one for one in starts if one.rpartition('.')[0] == topic]
            or difflib.get_close_matches(start, starts, 1, cutoff=0.0))
    policy = (difflib.get_close_matches(policy, policies, 1) or ['depth'])[0]
    return f'; did you mean {f"{near[0]}.{policy}"!r}?' if near else ''
