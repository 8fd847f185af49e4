# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
What lifecycle cycles cost, in a process of their own: ``python cycles.py node|bare CYCLES``.

``node`` is the perception node with a network that pretends, ``bare`` an rclpy lifecycle node
that creates and destroys the same publishers and subscriptions. Both answer a frame a cycle, on
the topics that somebody hears.
"""

import gc
import json
import os
import resource
import sys
import threading

import numpy as np
from node_bench import RESULTS, SUCCESS, Bench
from rclpy.lifecycle import LifecycleNode
from ros_graph import Graph

WARM = 200
"""Cycles before anything counts."""
EVERY = 10


class Environment:
    """Takes the place of pytest's monkeypatch in a process that ends anyway."""

    def setenv(self, name, value):
        os.environ[name] = value


def resident():
    """Return the memory that the process has, bytes."""
    with open('/proc/self/statm') as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def endpoints(node):
    """Return kind, topic and quality of service of what a node publishes and subscribes to."""
    return (
        [(one.msg_type, one.topic_name, one.qos_profile) for one in node._managed_entities],
        [(one.msg_type, one.topic_name, one.qos_profile) for one in node.subscriptions])


class BareNode(LifecycleNode):
    """A lifecycle node with given topics that does nothing else."""

    def __init__(self, publishers, subscriptions, **arguments):
        super().__init__('bare', **arguments)
        self.wanted = publishers, subscriptions
        self.made = []
        self.open = []

    @property
    def results(self):
        """Return the publishers that somebody hears."""
        return [one for one in self.made if one.topic_name.lstrip('/') in RESULTS]

    def answer(self, picture):
        """Publish as many messages as the perception node for a frame."""
        for one in self.results:
            one.publish(picture)

    def on_configure(self, state):
        self.made = [self.create_lifecycle_publisher(*one) for one in self.wanted[0]]
        return super().on_configure(state)

    def on_activate(self, state):
        self.open = [self.create_subscription(kind, topic, lambda message: None, qos)
                     for kind, topic, qos in self.wanted[1]]
        return super().on_activate(state)

    def on_deactivate(self, state):
        for one in self.open:
            self.destroy_subscription(one)
        self.open = []
        return super().on_deactivate(state)

    def on_cleanup(self, state):
        for one in self.made:
            self.destroy_lifecycle_publisher(one)
        self.made = []
        return super().on_cleanup(state)


def main(kind, cycles):
    """Print the growth of memory, bytes a cycle, and the threads and descriptors there were."""
    graph = Graph(Environment())
    test = Bench(graph)
    test.start(*RESULTS)
    topics = endpoints(test.node)
    test.node.trigger_deactivate()
    test.node.trigger_cleanup()

    node = test.node
    if kind == 'bare':
        node = BareNode(*topics, context=graph.context)
        graph.executor.add_node(node)

    sizes, counts = [], set()
    for number in range(WARM + cycles):
        cycle(test, node, number)
        if number >= WARM and number % EVERY == 0:
            gc.collect()
            sizes.append((number, resident()))
            counts.add((threading.active_count(), len(os.listdir('/proc/self/fd'))))

    slope, _ = np.polyfit(*np.transpose(sizes), 1)
    print(json.dumps({
        'bytes_a_cycle': round(slope), 'publishers': len(topics[0]),
        'subscriptions': len(topics[1]), 'threads_and_descriptors': sorted(counts)}), flush=True)
    os._exit(0)  # what is left ends with the process


def cycle(test, node, number):
    """Go from unconfigured to active and back, and answer a frame in between."""
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    bare = node is not test.node
    test.spin_until(lambda: len(RESULTS) == (
        sum(one.get_subscription_count() > 0 for one in node.results) if bare
        else len(test.camera.outputs.wanted())))

    (node.answer if bare else test.feed)(test.picture(seed=number))
    test.spin_until(lambda: all(test.heard[topic] for topic in RESULTS))
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    for notes in (*test.heard.values(), test.engine.asked, test.engine.with_state):
        notes.clear()


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]))
