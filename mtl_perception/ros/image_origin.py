# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Notice that the images of a topic come from another camera, or in another form."""

from typing import Any


class ImageOrigin:
    """
    Where the images of one topic come from: a change of it is no motion.

    :meth:`change_of` is for the thread that processes the images, :meth:`is_new` for that which
    looks at the graph.
    """

    def __init__(self) -> None:
        self._frame_id: str | None = None
        self._encoding = ''
        self._publishers: frozenset[bytes] = frozenset()

    def change_of(self, message: Any) -> str:
        """
        Return what differs from the image before: ``frame_id``, ``encoding`` or nothing.

        :param message: ``sensor_msgs/Image`` or ``sensor_msgs/CompressedImage``.
        """
        before = self._frame_id, self._encoding
        self._frame_id = message.header.frame_id
        self._encoding = getattr(message, 'encoding', '')
        if before[0] is None:
            return ''
        if before[0] != self._frame_id:
            return 'frame_id'
        return '' if before[1] == self._encoding else 'encoding'

    def is_new(self, publishers: frozenset[bytes]) -> bool:
        """
        Return whether a publisher has come that was not there with the last ones.

        :param publishers: the identifiers of all of them.
        """
        is_new = bool(self._publishers) and not publishers <= self._publishers
        if publishers:  # a camera that returns is another one
            self._publishers = publishers
        return is_new

    def forget(self) -> None:
        """Begin anew."""
        self._frame_id = None
        self._publishers = frozenset()
