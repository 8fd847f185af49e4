# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The node that people usually write around a network, for ``mtl benchmark`` to compare with.

One subscription with a queue of ten, inference in its callback, ``cv_bridge``'s way from a message
to an array and back, and every output published for every frame, whether or not somebody listens.
:mod:`mtl_perception.inference.usual_pattern` is what it does with an image.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mtl_perception import topics
from mtl_perception.ros.process import run_node
from mtl_perception.signals import StopRequest

QOS = QoSProfile(depth=10)
ENCODINGS = {'semantic': 'mono8', 'depth': '32FC1', 'motion': 'mono8'}


class UsualNode(Node):  # type: ignore[misc]
    """Subscribe to ``image_raw`` in rgb8 and publish a map of each task."""

    def __init__(self) -> None:
        super().__init__('usual_node')
        self.exit_code: int | None = None
        model = self.declare_parameter('model', 'street').value
        device = self.declare_parameter('device', 'auto').value
        threads = self.declare_parameter('threads', 0).value

        # torch is wanted here alone
        from mtl_perception.inference.usual_pattern import UsualPattern
        self._pattern = UsualPattern(model, device, threads)
        self._publishers_of = {
            task: self.create_publisher(Image, topics.PREDICTIONS[task].name, QOS)
            for task in self._pattern.tasks}
        self.create_subscription(Image, topics.IMAGE.name, self._on_image, QOS)

    def stop(self) -> bool:
        """There is nothing to finish."""
        return True

    def _on_image(self, message: Image) -> None:
        """Answer an image."""
        image = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        for task, values in self._pattern(image).items():
            self._publishers_of[task].publish(
                _message(message.header, ENCODINGS[task], values))


def _message(header: Header, encoding: str, values: NDArray[Any]) -> Image:
    """Return a message as ``cv_bridge`` makes it."""
    message = Image(header=header, height=values.shape[0], width=values.shape[1],
                    encoding=encoding, step=values.strides[0])
    message.data.frombytes(values.tobytes())
    return message


def main(arguments: Sequence[str] | None = None, stop: StopRequest | None = None) -> int:
    """
    Run the node.

    :param arguments: the command line; ``sys.argv`` by default.
    :param stop: listens since the start of the process.
    """
    return run_node(lambda stopped: UsualNode(), arguments, stop)


if __name__ == '__main__':
    raise SystemExit(main())
