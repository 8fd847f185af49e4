# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The latest message of each camera, between the receiving and the working thread."""

import threading
from typing import Generic, TypeVar

T = TypeVar('T')


class Mailbox(Generic[T]):
    """
    One slot per camera; the newest message wins, the camera that waits longest is served first.

    A message that arrives before the last one was processed replaces it; nothing queues, so the
    latency does not grow. A camera keeps its turn when its message is replaced, and goes to the
    end of the line when it is served: one fast camera cannot starve the others. A camera may be
    favoured for its next few messages, see :meth:`favour`.

    Safe to use from any number of threads.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, T] = {}  # in the order in which they are served
        self._favours: dict[str, int] = {}  # messages that are served out of turn
        self._favoured: set[str] = set()  # cameras whose last message was
        self._condition = threading.Condition()
        self._closed = False

    def put(self, camera: str, item: T) -> T | None:
        """
        Put a message into the slot of a camera.

        :return: the message that will not be processed: the one that was replaced, or the given
            one if the mailbox is closed; None otherwise.
        """
        with self._condition:
            if self._closed:
                return item
            replaced = self._waiting.get(camera)
            self._waiting[camera] = item  # a key that exists keeps its place
            self._condition.notify()
            return replaced

    def take(self, timeout: float | None = None) -> tuple[str, T] | None:
        """
        Wait for a message and take it out.

        :param timeout: seconds to wait; no limit if None.
        :return: the camera and its message; None once the mailbox is closed, or after the timeout.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._closed, timeout)
            if self._closed or not self._waiting:
                return None
            camera = next(filter(self._favours.get, self._waiting), next(iter(self._waiting)))

            self._favoured.discard(camera)
            if self._favours.get(camera):
                self._favours[camera] -= 1
                self._favoured.add(camera)
            return camera, self._waiting.pop(camera)

    def take_others(self, camera: str, most: int) -> list[tuple[str, T]]:
        """
        Take out the messages of other cameras that wait now.

        :param camera: whose message was taken.
        :param most: largest number of messages.
        :return: cameras and their messages, in the order of their turns.
        """
        with self._condition:
            names = [name for name in self._waiting if name != camera][:most]
            self._favoured.difference_update(names)
            return [(name, self._waiting.pop(name)) for name in names]

    def favour(self, camera: str, count: int) -> None:
        """
        Serve the next messages of a camera before those of the others.

        Ignored if its last message was served so itself: no camera can keep its turn forever.

        :param count: number of messages.
        """
        with self._condition:
            if camera not in self._favoured:
                self._favours[camera] = count

    def close(self) -> list[tuple[str, T]]:
        """
        Refuse messages from now on and wake up all waiting threads.

        :return: the messages that waited and will not be processed.
        """
        with self._condition:
            self._closed = True
            left = list(self._waiting.items())
            self._waiting.clear()
            self._condition.notify_all()
            return left

    def __len__(self) -> int:
        """Return the number of messages that wait."""
        with self._condition:
            return len(self._waiting)
