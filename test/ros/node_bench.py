# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A perception node on a separate graph, with a network that the test controls."""

import threading
import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_graph import Graph
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mtl_perception.frames import Outputs
from mtl_perception.inference.engine import Setup
from mtl_perception.manifest import Manifest, NetworkSpec
from mtl_perception.ros.destroyed import destroy_all
from mtl_perception.ros.messages import image_message
from mtl_perception.ros.perception_node import PerceptionNode
from mtl_perception.tasks import STREET_TASKS

HEIGHT, WIDTH = 32, 64
SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
RESULTS = ('semantic/image', 'depth/image', 'motion/image')


class FakeEngine:
    """
    Calls everything road at the red channel's depth; remembers what it was asked for.

    :ivar delay_s: how long a frame takes.
    :ivar failure: raised for each frame, if not None.
    :ivar hold: frames wait while this event is clear.
    """

    def __init__(self):
        channels = {task.name: task.channels for task in STREET_TASKS}
        self.manifest = Manifest(
            name='fake', network=NetworkSpec('resnet10', 2, 8, channels), tasks=STREET_TASKS,
            height=HEIGHT, width=WIDTH, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
            focal_px=0.6 * WIDTH)
        self.motion_head = None
        self.setup = Setup('fake', '1', 'cpu', 'fp32', 1)
        self.delay_s = 0.0
        self.failure = None
        self.hold = threading.Event()
        self.hold.set()
        self.asked = []
        self.with_state = []

    def step(self, image, state=None, tasks=None):
        self.asked.append(set(tasks))
        self.with_state.append(state is not None)
        self.hold.wait(30)
        time.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure
        shape = image.shape[:2]
        outputs = {
            'semantic': np.zeros(shape, np.uint8),
            'depth': image[..., 0].astype(np.float32) / 8 + 1,
            'motion': np.zeros(shape, np.uint8)}
        return Outputs(**{task: outputs[task] for task in tasks}), object()


class Bench:
    """
    A graph with one perception node, a listener and one camera, all turned by :meth:`spin`.

    :param parameters: of the node; ``__`` stands for a dot.
    """

    def __init__(self, graph: Graph, engine=None, /, **parameters):
        self.graph = graph
        self.engine = engine or FakeEngine()
        self.heard = graph.heard
        overrides = [Parameter(name.replace('__', '.'), value=value)
                     for name, value in parameters.items()]
        real = str(parameters.get('model')).endswith('.safetensors')
        loader = {} if real else {'load_engine': lambda settings: self.engine}
        self.node = PerceptionNode(
            context=graph.context, parameter_overrides=overrides, **loader)
        graph.executor.add_node(self.node)
        self.camera_publisher = None
        graph.listen(DiagnosticArray, '/diagnostics')

    @property
    def camera(self):
        return next(iter(self.node.cameras.values()))

    @property
    def counts(self):
        return self.camera.account.counts()

    def start(self, *topics):
        """Listen to image topics, configure, activate."""
        for topic in topics:
            self.graph.listen(Image, topic)
        assert self.node.trigger_configure() == SUCCESS, self.node.last_error
        assert self.node.trigger_activate() == SUCCESS, self.node.last_error

        if topics:
            self.spin_until(lambda: len(self.camera.outputs.wanted()) == len(topics))

    def spin(self, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.graph.executor.spin_once(timeout_sec=0.01)

    def spin_until(self, condition, timeout_s=60.0):
        self.graph.spin_until(condition, timeout_s)

    def publish(self, message=None, qos=5, topic='image_raw'):
        """Publish a camera image on the graph."""
        if self.camera_publisher is None:
            self.camera_publisher = self.graph.node.create_publisher(Image, topic, qos)
            self.spin_until(lambda: self.camera_publisher.get_subscription_count() > 0)
        self.camera_publisher.publish(message if message is not None else self.picture())

    def picture(self, **arguments):
        return picture(self.node.get_clock().now(), **arguments)

    def calibrate(self, calibration):
        """Hand a calibration of this moment to the camera."""
        calibration.header.stamp = self.node.get_clock().now().to_msg()
        self.camera._infos.put(calibration)

    def feed(self, message):
        """Hand a message to the camera's callback and wait until it is accounted for."""
        self.node.on_image(self.camera, message)
        self.settle()

    def settle(self, timeout_s=60.0):
        """Wait until nothing is in flight."""
        deadline = time.monotonic() + timeout_s
        while self.counts.in_flight:
            assert time.monotonic() < deadline, self.counts
            time.sleep(0.0002)

    def health(self, ending):
        """Return level and text of the newest diagnostic entry whose name ends so."""
        for array in reversed(self.heard['/diagnostics']):
            for status in array.status:
                if status.name.endswith(ending):
                    return status.level, status.message
        return None, ''

    def close(self):
        self.engine.hold.set()
        assert self.node.stop()
        self.graph.executor.remove_node(self.node)
        destroy_all(self.node)  # or the graphs of later tests on this domain have two of the name


def picture(now, height=48, width=80, seed=0, frame_id='camera_optical_frame'):
    """Return an rgb8 image with that stamp."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return image_message(Header(stamp=now.to_msg(), frame_id=frame_id), 'rgb8', image)
