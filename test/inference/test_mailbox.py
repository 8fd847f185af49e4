# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The mailbox: the newest message wins, no camera starves, every loss is reported."""

import collections
import random
import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from mtl_perception.inference.mailbox import Mailbox


def test_the_newest_message_of_a_camera_replaces_the_waiting_one():
    mailbox = Mailbox()
    assert mailbox.put('front', 1) is None
    assert mailbox.put('front', 2) == 1
    assert mailbox.take() == ('front', 2)
    assert len(mailbox) == 0


def test_a_replaced_message_keeps_the_turn_of_its_camera():
    mailbox = Mailbox()
    for camera, item in (('a', 1), ('b', 2), ('a', 3), ('c', 4)):
        mailbox.put(camera, item)
    assert [mailbox.take() for _ in range(3)] == [('a', 3), ('b', 2), ('c', 4)]


def test_a_served_camera_goes_to_the_end_of_the_queue():
    mailbox = Mailbox()
    mailbox.put('fast', 0)
    mailbox.put('slow', 0)

    assert mailbox.take()[0] == 'fast'

    mailbox.put('fast', 1)
    assert mailbox.take()[0] == 'slow'


def test_take_returns_nothing_after_the_timeout():
    assert Mailbox().take(timeout=0.01) is None


def test_closing_wakes_the_reader_and_returns_the_waiting_messages():
    mailbox = Mailbox()
    taken = []
    waiter = threading.Thread(target=lambda: taken.append(mailbox.take()))
    waiter.start()
    time.sleep(0.02)

    assert mailbox.close() == []

    waiter.join(2)
    assert not waiter.is_alive()
    assert taken == [None]

    mailbox = Mailbox()
    mailbox.put('front', 1)
    assert mailbox.close() == [('front', 1)]
    assert mailbox.take() is None
    assert mailbox.put('front', 2) == 2  # refused, and the caller can count it
    assert mailbox.close() == []


@given(st.lists(st.one_of(st.none(), st.sampled_from('abc')), max_size=60))
def test_every_message_is_taken_or_returned_exactly_once(operations):
    """A camera's letter puts a message, None takes one; a list is the model."""
    mailbox, row, slots = Mailbox(), [], {}
    for number, camera in enumerate(operations):
        if camera is None:
            wanted = (row[0], slots.pop(row.pop(0))) if row else None
            assert mailbox.take(timeout=0) == wanted
        else:
            assert mailbox.put(camera, number) == slots.get(camera)
            slots[camera] = number
            row += [] if camera in row else [camera]

    assert mailbox.close() == [(camera, slots[camera]) for camera in row]


def test_threads_lose_and_duplicate_no_message_and_starve_no_camera():
    mailbox = Mailbox()
    counts = collections.Counter()
    served = collections.Counter()
    lock = threading.Lock()
    cameras = [f'camera{index}' for index in range(4)]

    def produce(camera, pause):
        for number in range(200 if pause == 0 else 50):
            replaced = mailbox.put(camera, (camera, number))
            with lock:
                counts['put'] += 1
                counts['replaced'] += replaced is not None
            time.sleep(pause * random.random())

    def consume():
        while (taken := mailbox.take()) is not None:
            camera, (sender, _) = taken
            assert camera == sender
            with lock:
                served[camera] += 1
            time.sleep(0.0005)

    consumers = [threading.Thread(target=consume) for _ in range(2)]
    producers = [
        threading.Thread(target=produce, args=(camera, 0 if camera == cameras[0] else 0.004))
        for camera in cameras]
    for thread in consumers + producers:
        thread.start()
    for thread in producers:
        thread.join()
    left = mailbox.close()
    for thread in consumers:
        thread.join(2)
        assert not thread.is_alive()

    assert counts['put'] == counts['replaced'] + sum(served.values()) + len(left)
    assert all(served[camera] >= 10 for camera in cameras[1:])


def test_a_favoured_camera_is_served_out_of_turn_but_not_forever():
    mailbox = Mailbox()
    order = []
    for turn in range(9):
        for camera in ('front', 'left', 'rear'):
            mailbox.put(camera, turn)
        camera, _ = mailbox.take()
        order.append(camera)
        mailbox.favour(camera, 2)  # as a camera whose frames always start anew

    assert order == [name for name in ('front', 'left', 'rear') for _ in range(3)]


def test_a_favour_waits_for_the_camera_and_does_not_hold_up_the_others():
    mailbox = Mailbox()
    mailbox.put('front', 1)
    assert mailbox.take() == ('front', 1)
    mailbox.favour('front', 1)

    mailbox.put('rear', 2)
    assert mailbox.take() == ('rear', 2)
    mailbox.put('left', 3)
    mailbox.put('front', 4)
    assert [mailbox.take(), mailbox.take()] == [('front', 4), ('left', 3)]
