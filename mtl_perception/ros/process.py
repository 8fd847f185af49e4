# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Run one node as a program, from its start to its exit code."""

import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from mtl_perception.errors import PerceptionError
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.ros.destroyed import destroy_all
from mtl_perception.ros.error_guards import detail_of
from mtl_perception.ros.loading import StoppedError, is_loading
from mtl_perception.ros.log_text import Throttle, printable
from mtl_perception.signals import StopRequest

WAKE_S = 0.1
"""A signal is noticed within this time, seconds."""

FAILURES_IN_A_ROW = 100


class Stoppable(Protocol):
    """The part of a node that :func:`run_node` uses."""

    exit_code: int | None

    def stop(self) -> bool:
        """Finish; return False if a thread hangs."""

    def destroy_node(self) -> None:
        """Give the node's handles back."""

    def get_logger(self) -> Any:
        """Return the logger of rclpy."""


def run_node(
    make_node: Callable[[Callable[[], bool]], Stoppable], args: Sequence[str] | None = None,
    stop: StopRequest | None = None,
) -> int:
    """
    Run one node in a single-threaded executor until a signal comes or the node asks for the end.

    SIGINT, SIGTERM and SIGHUP do the same: the current work is finished, then all resources are
    released.
    A later signal ends the process at once with code 130. rclpy's own handlers are not used: on
    SIGINT they raise KeyboardInterrupt inside the running callback, on SIGTERM they destroy the
    context.

    :param make_node: called once rclpy is up, with what tells whether a signal came.
    :param args: the command line; ``sys.argv`` by default.
    :param stop: listens since the start of the process; from here on if None.
    :return: the exit code: 0, or what the node asked for; that of an error of the package if the
        node could not be made, else 2; 5 if the log cannot be written.
    """
    stop = stop or StopRequest().listen()
    stop.at_once = False  # from now on there is something to finish

    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = make_node(lambda: stop.received is not None)
    except StoppedError:
        rclpy.try_shutdown()
        return _ended(stop, 0)
    except Exception as error:  # noqa: BLE001  (rcl has an error class for everything)
        return _refuse_to_start(error)

    executor = SingleThreadedExecutor()
    executor.add_node(node)
    code = _spin(executor, node, stop)

    # a thread that hangs in native code cannot be joined: only an immediate exit helps
    if not node.stop():
        node.get_logger().fatal('a thread hangs; ending the process with exit code 7')
        sys.stderr.flush()
        os._exit(7)

    destroy_all(node)
    executor.shutdown()
    rclpy.try_shutdown()
    gc.freeze()  # the last garbage collection over all objects of torch would take a second
    return _ended(stop, node.exit_code if node.exit_code is not None else code)


def _ended(stop: StopRequest, code: int) -> int:
    """Return the exit code, with which no further signal interferes."""
    stop.ignore()
    if is_loading():  # in a library; its thread would crash in the ruins of the interpreter
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _spin(executor: SingleThreadedExecutor, node: Stoppable, stop: StopRequest) -> int:
    """
    Spin until asked to stop.

    Services of rclpy itself raise on some requests, and an exception out of a callback would end
    the node; here it is logged.
    """
    throttle = Throttle()
    failures = 0
    while stop.received is None and node.exit_code is None:
        try:
            executor.spin_once(timeout_sec=WAKE_S)
            failures = 0
        except ExternalShutdownException:
            return 0

        except Exception as error:  # noqa: BLE001
            failures += 1
            if throttle.due('spin'):
                node.get_logger().error(
                    f'[{ReasonCode.INTERNAL}] in the executor: {detail_of(error)}')
            if failures >= FAILURES_IN_A_ROW:
                return 1
            time.sleep(0.01)  # an error that repeats must not take the whole core
    return 0


def _refuse_to_start(error: Exception) -> int:
    """Print in one line why the node cannot be made, and return the exit code."""
    rclpy.try_shutdown()
    text = printable(' '.join(str(error).split()), 500)
    if isinstance(error, PerceptionError):
        print(f'cannot start: {text}', file=sys.stderr)
        return error.exit_code
    print(f'cannot start: {type(error).__name__}: {text}', file=sys.stderr)
    if 'log directory' in text or 'logging' in text:
        print('set ROS_LOG_DIR to a folder that can be written', file=sys.stderr)
        return 5
    return 2
