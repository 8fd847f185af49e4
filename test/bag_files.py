# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bags for the tests, written by rosbags' own writer."""

import numpy as np
from rosbags.rosbag2 import CompressionFormat, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_KILTED)
IMAGE = 'sensor_msgs/msg/Image'
DIAGNOSTICS = 'diagnostic_msgs/msg/DiagnosticArray'
ENCODINGS = {('uint8', 3): 'rgb8', ('uint8', 2): 'mono8', ('uint16', 2): '16UC1',
             ('float32', 2): '32FC1'}
SECOND = 10 ** 9


def header(stamp_ns):
    types = STORE.types
    stamp = types['builtin_interfaces/msg/Time'](stamp_ns // SECOND, stamp_ns % SECOND)
    return types['std_msgs/msg/Header'](stamp, 'camera')


def image(array, stamp_ns):
    """Return an image message of an array."""
    array = np.ascontiguousarray(array)
    return STORE.types[IMAGE](
        header(stamp_ns), array.shape[0], array.shape[1],
        ENCODINGS[array.dtype.name, array.ndim], 0, array.strides[0],
        array.view(np.uint8).reshape(-1))


def info(focal, stamp_ns):
    """Return the calibration of a pinhole of 96 x 64 pixels."""
    kind = STORE.types['sensor_msgs/msg/CameraInfo']
    region = STORE.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    matrix = np.array([focal, 0, 47.5, 0, focal, 31.5, 0, 0, 1], float)
    return kind(header(stamp_ns), 64, 96, 'plumb_bob', np.zeros(5), matrix, np.eye(3).ravel(),
                np.hstack([matrix.reshape(3, 3), np.zeros((3, 1))]).ravel(), 0, 0, region)


def diagnostics(statuses, stamp_ns=0):
    """Return a diagnostic array of name -> values."""
    status, pair = (STORE.types[f'diagnostic_msgs/msg/{name}']
                    for name in ('DiagnosticStatus', 'KeyValue'))
    return STORE.types[DIAGNOSTICS](header(stamp_ns), [
        status(0, name, '', '', [pair(key, str(value)) for key, value in values.items()])
        for name, values in statuses.items()])


def arrays_of(record):
    """Return role -> array of everything in a record, boxes left out."""
    maps = ('semantic', 'depth', 'motion', 'instance')
    arrays = {'image': record.image}
    for prefix, values in (('', record.prediction), ('true_', record.truth)):
        arrays |= {prefix + name: getattr(values, name, None) for name in maps}
    return {role: array for role, array in arrays.items() if array is not None}


def write_bag(path, messages, storage=StoragePlugin.MCAP, compress=None):
    """
    Write a bag.

    :param messages: (topic, message, time of reception in ns).
    :param compress: a mode of compression with zstd.
    """
    made = Writer(path, version=9, storage_plugin=storage)
    if compress is not None:
        made.set_compression(compress, CompressionFormat.ZSTD)
    with made as writer:
        connections = {}
        for topic, message, logged_ns in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], logged_ns, STORE.serialize_cdr(message, kind))
    return path
