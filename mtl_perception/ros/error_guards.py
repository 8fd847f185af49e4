# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Keep one bad message or one bug from ending the process.

rclpy ends ``spin()`` when a callback raises. A lifecycle node stays in an intermediate state
forever when a transition raises something other than an ``Exception``, or returns something other
than the enumeration. So every callback and every transition of the node is wrapped in one of these
guards.
"""

import functools
import traceback
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from mtl_perception.errors import PerceptionError
from mtl_perception.inference.cuda_errors import gpu_reason
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.ros.log_text import Throttle, printable

INTERNAL = ReasonCode.INTERNAL
"""Reason code of an unexpected error."""

P = ParamSpec('P')
T = TypeVar('T')


class GuardedNode(Protocol):
    """The part of a node that the guards use."""

    callback_errors: int

    def get_logger(self) -> Any:
        """Return the logger of rclpy."""


def reason_of(error: BaseException) -> str:
    """Return the reason code under which a frame is counted whose processing raised."""
    if isinstance(error, PerceptionError):
        return error.code or INTERNAL
    if isinstance(error, MemoryError):
        return ReasonCode.MEMORY
    return gpu_reason(error) or INTERNAL


def detail_of(error: BaseException) -> str:
    """Return the text of an error without the reason code in front of it."""
    text = str(error)
    if isinstance(error, PerceptionError):
        return printable(text.removeprefix(f'[{error.code}] '))
    return printable(f'{type(error).__name__}: {text}')


def guarded(
    node: GuardedNode, throttle: Throttle, callback: Callable[P, T], fallback: T | None = None,
) -> Callable[P, T | None]:
    """
    Return a callback that logs what the given one raises instead of raising it.

    :param node: logs and counts the error.
    :param throttle: limits the lines in the log.
    :param callback: what to call.
    :param fallback: what to return after an error.
    """
    name = getattr(callback, '__name__', str(callback))

    @functools.wraps(callback)
    def call(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return callback(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  (the last line of defence of a callback)
            node.callback_errors += 1
            if throttle.due(('callback', name)):
                node.get_logger().error(
                    f'[{INTERNAL}] {name}: {detail_of(error)}\n{traceback.format_exc()}')
            return fallback

    return call


def transition(
    method: Callable[[Any, LifecycleState], TransitionCallbackReturn],
) -> Callable[[Any, LifecycleState], TransitionCallbackReturn]:
    """
    Wrap a transition so that it never raises and always returns the enumeration.

    An error of the package is an expected cause: FAILURE, the node stays in its state. Anything
    else is a bug: ERROR, and rclpy calls ``on_error``. An interrupt is kept until after the
    transition, because an exception here would leave the node between two states forever.
    """
    name = method.__name__

    @functools.wraps(method)
    def call(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            result = method(node, state)
        except PerceptionError as error:
            node.last_error = printable(f'{name}: {error}', 2000)
            node.get_logger().error(node.last_error)
            return TransitionCallbackReturn.FAILURE

        except BaseException as error:  # noqa: BLE001
            node.last_error = f'[{INTERNAL}] {name}: {detail_of(error)}'
            node.get_logger().error(f'{node.last_error}\n{traceback.format_exc()}')
            if not isinstance(error, Exception):
                node.request_exit(130, f'{type(error).__name__} during {name}')
            return TransitionCallbackReturn.ERROR

        # anything else would leave the node between two states
        if isinstance(result, TransitionCallbackReturn):
            return result
        node.last_error = f'[{INTERNAL}] {name} returned {result!r}'
        node.get_logger().error(node.last_error)
        return TransitionCallbackReturn.ERROR

    return call
