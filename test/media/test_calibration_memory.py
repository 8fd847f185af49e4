# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which calibration an image gets."""

from types import SimpleNamespace

from mtl_perception.media.calibration import CalibrationMemory

SECOND = 10 ** 9


def calibration(seconds, nanoseconds=0):
    stamp = SimpleNamespace(sec=seconds, nanosec=nanoseconds)
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp))


def test_an_image_gets_the_calibration_of_its_stamp_or_else_the_newest_before_it():
    memory = CalibrationMemory()
    infos = {seconds: calibration(seconds) for seconds in (5, 3, 9)}  # in any order
    for info in infos.values():
        memory.put(info)

    assert memory.find(5 * SECOND) is infos[5]
    assert memory.find(9 * SECOND - 1) is infos[5]
    assert memory.find(999 * SECOND) is infos[9]


def test_an_image_before_every_calibration_gets_the_first_one():
    memory = CalibrationMemory()
    assert memory.find(SECOND) is None
    first = calibration(2)
    memory.put(first)
    memory.put(calibration(3))

    assert memory.find(SECOND) is first


def test_only_the_calibrations_that_were_received_last_are_kept():
    memory = CalibrationMemory(kept=16)
    infos = [calibration(seconds) for seconds in range(18)]
    for info in infos:
        memory.put(info)

    assert memory.find(5 * SECOND) is infos[5]
    assert memory.find(SECOND) is infos[2]  # its own was forgotten, and all before it

    memory.clear()
    assert memory.find(5 * SECOND) is None


def test_a_second_calibration_of_a_stamp_takes_the_place_of_the_first():
    memory = CalibrationMemory(kept=2)
    memory.put(calibration(1))
    memory.put(calibration(2))
    newer = calibration(1)
    memory.put(newer)

    assert memory.find(SECOND) is newer

    memory.put(calibration(3))  # the oldest is now that of stamp 2
    assert memory.find(2 * SECOND) is newer
