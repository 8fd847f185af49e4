# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Do what may take long in a thread, so that a signal need not wait for it."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from mtl_perception.errors import PerceptionError

T = TypeVar('T')
NAME = 'loading'
LOOK_S = 0.05


class StoppedError(PerceptionError):
    """The program was asked to end before it had begun."""

    exit_code = 0


def load(work: Callable[[], T], stopped: Callable[[], bool]) -> T:
    """
    Return what a function returns, or raise what it raises.

    :param work: importing torch, reading weights, or opening a camera.
    :param stopped: whether the program was asked to end.
    :raises StoppedError: at once if it was; the function is left alone with its thread, so the
        process must end without waiting for it, see :func:`is_loading`.
    """
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001  (raised again where it is waited for)
            errors.append(error)

    thread = threading.Thread(target=run, name=NAME, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_S)
        if thread.is_alive() and stopped():
            raise StoppedError('asked to end while it was starting')

    if errors:
        raise errors[0]
    value: T = results[0]
    return value


def is_loading() -> bool:
    """Return whether a thread still works on what nobody waits for any more."""
    return any(thread.name == NAME and thread.is_alive() for thread in threading.enumerate())
