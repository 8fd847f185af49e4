# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Images per second that are read from a recording, before any network runs.

``python -m mtl_perception.bags.benchmark`` writes a bag of raw rgb8 images with each
storage, and reads it as ``mtl evaluate`` does: opened, checked and decoded, every byte touched.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from mtl_perception import topics
from mtl_perception.bags.reader import Bag
from mtl_perception.signals import interruptible

STORAGES = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
PERIOD_NS = 33_333_333


def write_images(path: Path, storage: str, frames: int, height: int, width: int) -> int:
    """
    Write a bag of noise, which cannot be compressed.

    :param path: folder of the new bag.
    :param storage: one of ``STORAGES``.
    :return: its size, bytes.
    """
    store = get_typestore(Stores.ROS2_KILTED)
    types = store.types
    noise = np.random.default_rng(0)
    with Writer(path, version=9, storage_plugin=STORAGES[storage]) as writer:
        connection = writer.add_connection(
            topics.IMAGE.below(''), topics.IMAGE_TYPE, typestore=store)
        for number in range(1, frames + 1):
            stamp_ns = number * PERIOD_NS
            stamp = types['builtin_interfaces/msg/Time'](*divmod(stamp_ns, 10 ** 9))
            message = types[topics.IMAGE_TYPE](
                types['std_msgs/msg/Header'](stamp, 'camera'), height, width, 'rgb8', 0,
                3 * width, noise.integers(0, 256, 3 * height * width, np.uint8))
            writer.write(connection, stamp_ns, store.serialize_cdr(message, topics.IMAGE_TYPE))
    return sum(file.stat().st_size for file in path.iterdir())


def time_reading(path: Path) -> tuple[int, float]:
    """Return the number of images in a bag, and the seconds that reading them took."""
    started = time.perf_counter()
    frames = total = 0
    with Bag(path) as bag:
        for record in bag.records():
            assert record.image is not None
            total += int(record.image.max())
            frames += 1
    if not total:
        raise ValueError(f'{path}: every image is black; noise was written')
    return frames, time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> int:
    """Write, read and print; the exit code is 0."""
    parser = argparse.ArgumentParser(description='Time the reading of recorded images.')
    parser.add_argument('--frames', type=int, default=100, help='images per bag (100)')
    parser.add_argument('--runs', type=int, default=5, help='readings of each bag (5)')
    parser.add_argument('--height', type=int, default=1080, help='rows of an image (1080)')
    parser.add_argument('--width', type=int, default=1920, help='columns of an image (1920)')
    parser.add_argument('--folder', type=Path, help='where the bags are written')
    parsed = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory(dir=parsed.folder) as folder:
        for storage in STORAGES:
            path = Path(folder) / storage
            size = write_images(path, storage, parsed.frames, parsed.height, parsed.width)
            rates = [frames / seconds for frames, seconds in (
                time_reading(path) for _ in range(parsed.runs))]
            print(f'{storage}: median {statistics.median(rates):.0f} frames/s of {parsed.width} x '
                  f'{parsed.height} rgb8 ({min(rates):.0f} to {max(rates):.0f}, {parsed.runs} '
                  f'readings of {parsed.frames} frames, {size / 1e6:.0f} MB)')
    return 0


if __name__ == '__main__':
    raise SystemExit(interruptible(main, 'benchmark'))
