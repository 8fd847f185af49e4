# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A program that publishes messages of a type on a topic until it is ended: TYPE TOPIC [RATE]."""

import sys
import time
from importlib import import_module

import rclpy
from rclpy.node import Node


def main(type_name, topic, rate='10', height='48', width='80'):
    package, kind = type_name.split('/msg/')
    rclpy.init()
    node = Node('talker')
    publisher = node.create_publisher(getattr(import_module(f'{package}.msg'), kind), topic, 5)

    message = publisher.msg_type()
    if kind == 'Image':
        message.height, message.width, message.step = int(height), int(width), int(width) * 3
        message.encoding = 'rgb8'
        message.data.frombytes(bytes(range(256)) * (message.step * message.height // 256))
    header = message.header if hasattr(message, 'header') else message

    while rclpy.ok():
        if kind == 'Image':
            message.data[0] = (message.data[0] + 1) % 256  # a camera's pictures are never equal
        header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
        if publisher.get_subscription_count():
            print('first', flush=True)
        time.sleep(1 / float(rate))


if __name__ == '__main__':
    main(*sys.argv[1:])
