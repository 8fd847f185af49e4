# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Damaged images are counted and do not flood the console."""

import os

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from mtl_perception.ros.library_noise import LibraryNoise


def damaged_jpeg(seed):
    """Return a JPEG whose middle was overwritten, which decodes nevertheless."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (48, 80, 3), np.uint8)
    code = bytearray(cv2.imencode('.jpg', image)[1].tobytes())
    code[-400:-300] = bytes(100)
    return bytes(code)


def test_lines_of_libraries_are_kept_and_all_others_passed_on(capfd):
    noise = LibraryNoise()
    with noise:
        os.write(2, b'Corrupt JPEG data: 5 extraneous bytes\nthe log of another thread\n')
        os.write(2, b'libpng error: IDAT: CRC error\n')
    assert capfd.readouterr().err == 'the log of another thread\n'
    assert (noise.line, noise.lines) == ('Corrupt JPEG data: 5 extraneous bytes', 2)

    with noise:
        pass
    assert noise.line == ''
    with pytest.raises(ZeroDivisionError), noise:
        raise ZeroDivisionError
    os.write(2, b'as before\n')
    assert capfd.readouterr().err == 'as before\n'


def test_a_hundred_damaged_images_are_counted_and_print_little(bench, capfd):
    test = bench(image_transport='compressed')
    test.start('semantic/image')
    capfd.readouterr()
    for number in range(100):
        header = Header(stamp=test.node.get_clock().now().to_msg())
        message = CompressedImage(header=header, format='jpeg')
        message.data.frombytes(damaged_jpeg(number))
        test.feed(message)

    printed = capfd.readouterr().err.splitlines()
    assert test.counts.published == 100
    assert test.counts.warnings['I18_damaged'] > 90
    assert not [line for line in printed if line.startswith('Corrupt')]
    assert 1 <= len([line for line in printed if 'I18_damaged' in line]) <= 3
