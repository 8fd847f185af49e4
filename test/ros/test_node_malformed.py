# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Malformed messages: each is dropped under its reason, and the node goes on."""

import random
import string
import time
from collections import Counter

import numpy as np
import pytest

pytest.importorskip('rclpy')

from builtin_interfaces.msg import Time
from campaign import EXAMPLES, SEED
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mtl_perception.ros.accounting import SUPERSEDED

ENCODINGS = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'mono8': 1, 'mono16': 2, '32FC1': 4}


def good(source, stamp):
    """Return a valid image of any size, with any padding."""
    encoding, height, width = 'rgb8', source.randint(1, 40), source.randint(1, 40)
    step = 3 * width + source.choice([0, 0, 1, 5])
    message = Image(header=Header(stamp=stamp), height=height, width=width, encoding=encoding,
                    step=step)
    message.data.frombytes(source.randbytes(height * step))
    return message


def malform(source, stamp):
    """Return a message that is wrong in one way, and its reason code."""
    message = good(source, stamp)
    message.encoding = source.choice(list(ENCODINGS))
    row = message.width * ENCODINGS[message.encoding]
    message.step = row + source.choice([0, 0, 3])
    size = message.step * message.height
    message.data.frombytes(bytes(max(0, size - len(message.data))))
    del message.data[size:]

    kind = source.choice(['empty', 'zero', 'short', 'long', 'step', 'encoding', 'huge', 'stamp'])
    if kind == 'empty':
        del message.data[:]
        return message, 'I01_empty'

    if kind == 'zero':
        setattr(message, source.choice(['height', 'width']), 0)
        return message, 'I02_zero_size'

    if kind == 'short':
        needed = message.step * (message.height - 1) + row
        del message.data[source.randint(1, needed - 1) if needed > 1 else 0:]
        return message, 'I03_short' if message.data else 'I01_empty'

    if kind == 'long':
        message.data.frombytes(bytes(message.step + source.randint(1, 50)))
        return message, 'I04_long'

    if kind == 'step':
        message.step = source.randint(0, row - 1)
        return message, 'I05_step'

    if kind == 'encoding':
        letters = string.ascii_letters + '\n\x1b[31m é\u202e0123456789'
        message.encoding = '?' + ''.join(source.choices(letters, k=source.choice([0, 3, 5000])))
        return message, 'I07_encoding'

    if kind == 'huge':
        sizes = [65535, 65536, 2 ** 31, 2 ** 32 - 1]
        message.height, message.width = source.choice(sizes), source.choice(sizes)
        message.step = source.choice([0, message.step, 2 ** 32 - 1])
        return message, 'I10_too_big'

    message.header.stamp = Time(
        sec=source.choice([0, 5]), nanosec=source.randint(10 ** 9, 2 ** 32 - 1))
    return message, 'T06_stamp_invalid'


def test_each_of_ten_thousand_malformed_images_is_counted_under_its_reason(bench, capfd):
    test, source = bench(), random.Random(20)
    test.start('semantic/image')
    wanted, shown = Counter(), 0
    for number in range(10_000):
        stamp = Time(sec=1 + number // 10, nanosec=number % 10 * 10 ** 8)
        if number % 100 == 99:  # a good frame of another size is answered in between
            test.feed(good(source, stamp))
            shown += 1
            continue
        message, reason = malform(source, stamp)
        wanted[reason] += 1
        test.feed(message)

    assert test.counts.dropped == wanted
    assert len(wanted) == 8
    assert (test.counts.received, test.counts.published) == (10_000, shown)
    assert test.counts.balanced

    message = good(source, Time(sec=5000))
    test.feed(message)
    test.spin_until(lambda: test.heard['semantic/image'][-1:]
                    and test.heard['semantic/image'][-1].header == message.header)
    lines = capfd.readouterr().err.splitlines()

    assert 0 < len(lines) < 100  # at most one line per five seconds and reason
    assert all(len(line) < 800 and line.isprintable() for line in lines)


def test_malformed_images_on_the_graph_do_not_stop_the_good_ones(bench):
    test, source = bench(), random.Random(21)
    test.start('semantic/image')
    for number in range(1, 301):
        message = good(source, Time(sec=number))
        if number % 10:
            message, _ = malform(source, Time(sec=number))
            message.encoding = message.encoding[:100]
        test.publish(message)
        test.spin_until(lambda: test.counts.received >= number)  # noqa: B023
        test.settle()
    counts = test.counts

    assert counts.balanced
    assert (counts.received, counts.published) == (300, 30)

    test.spin_until(lambda: len(test.heard['semantic/image']) == 30)


@pytest.mark.slow
@pytest.mark.campaign
def test_damaged_messages_on_the_wire_do_not_stop_the_good_ones(bench, capfd):
    """A good one is answered after every 1000: a million in ``make campaign``."""
    test, source = bench(), random.Random(SEED)
    test.start('semantic/image')
    test.publish()
    for number in range(max(1, EXAMPLES // 2)):
        for damage in range(1000):
            if damage % 100 == 0:
                seed = bytearray(serialize_message(good(source, Time(sec=number + 1))))
            damaged = bytearray(seed)
            for _ in range(source.randint(1, 8)):
                damaged[source.randrange(len(damaged))] = source.randrange(256)
            cut = source.choice([len(damaged), source.randrange(len(damaged) + 1)])
            before = test.counts.received
            test.camera_publisher.publish(bytes(damaged[:cut]))
            test.spin_until(lambda: test.counts.received > before)  # noqa: B023
            test.settle()  # else the next one replaces it

        message = good(source, Time(sec=10 ** 6 + number))
        deadline = time.monotonic() + 10
        while not any(heard.header == message.header
                      for heard in test.heard['semantic/image']):
            test.publish(message)
            test.spin(0.01)
            assert time.monotonic() < deadline
        test.heard['semantic/image'].clear()
        test.heard['/diagnostics'].clear()
        capfd.readouterr()  # the middleware has a line for each
    test.settle()

    assert test.counts.balanced
    # each of them reached the node, however damaged it is
    faults = Counter(test.counts.dropped) - Counter({SUPERSEDED: 500 * EXAMPLES})
    assert faults['I20_message'] > 200 * EXAMPLES, test.counts
    assert faults.total() > 205 * EXAMPLES, test.counts


def test_a_huge_claimed_tensor_costs_no_memory(bench):
    import tracemalloc
    test = bench()
    test.start('semantic/image')
    test.feed(test.picture())
    message = test.picture()
    message.height = message.width = message.step = 2 ** 32 - 1
    tracemalloc.start()
    test.feed(message)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert test.counts.dropped == {'I10_too_big': 1}
    assert peak < 2 ** 20


def test_a_covered_and_a_frozen_camera_are_reported_and_still_processed(bench):
    test = bench()
    test.start('semantic/image')
    flat = Image(height=48, width=80, encoding='rgb8', step=240)
    flat.data.frombytes(bytes(240 * 48))
    for number in range(12):
        flat.header.stamp.sec = number + 1
        test.feed(flat)

    assert test.counts.warnings == {'I13_flat': 3}
    assert test.counts.published == 12

    picture = test.picture()
    for number in range(33):
        picture.header.stamp.sec = 100 + number
        test.feed(picture)

    assert test.counts.warnings['I14_frozen'] == 3
    np.testing.assert_equal(test.counts.published, 45)
