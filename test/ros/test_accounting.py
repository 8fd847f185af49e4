# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The counters of a camera, and the health that is derived from them."""

import random
import threading

import pytest

pytest.importorskip('rclpy')

from mtl_perception.reason_codes import ReasonCode
from mtl_perception.ros.accounting import FrameAccount, percentiles
from mtl_perception.ros.diagnostics import (
    ERROR,
    OK,
    WARN,
    Health,
    assess,
    camera_values,
    status,
)
from mtl_perception.ros.qos_matching import Offer


class Steps:
    """A clock that goes when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Steps()


@pytest.fixture
def account(clock):
    return FrameAccount(clock)


def frame(account, reason=''):
    account.received()
    account.taken()
    if reason:
        return account.dropped(reason)
    return account.published({'total': 1.0})


DRIVER = Offer(('/driver',))


def judge(account, clock, offer=DRIVER, active_s=50.0):
    health = assess(account, offer, '/image_raw', 1.0, active_s, clock.now)
    return health.level, health.text


def test_every_frame_is_accounted_for(account):
    source, waiting = random.Random(1), 0
    for _ in range(2000):
        kind = source.choice(['publish', 'drop', 'supersede', 'wait'])
        account.received()
        waiting += 1

        if kind == 'supersede' and waiting > 1:
            account.dropped('O01_superseded', waiting=True)
            waiting -= 1
        elif kind in ('publish', 'drop'):
            account.taken()
            waiting -= 1
            assert account.counts().balanced
            assert account.counts().processing == 1
            if kind == 'publish':
                account.published({}, heard=source.random() < 0.5)
            else:
                account.dropped(source.choice(['I03_short', 'M10_output']))

        counts = account.counts()
        assert counts.balanced
        assert (counts.waiting, counts.in_flight) == (waiting, waiting)

    values = camera_values(account, {'gap': 3})
    dropped = sum(int(value) for key, value in values.items() if key.startswith('dropped.'))

    assert int(values['dropped']) == dropped
    assert int(values['received']) == (
        int(values['published']) + dropped + int(values['in_flight']))
    assert values['reset.gap'] == '3'


def test_a_lost_frame_unbalances_the_counters(account):
    account.received()
    account._waiting -= 1  # what a bug would do
    assert not account.counts().balanced


def test_the_counters_balance_from_any_thread():
    account, wrong, ready = FrameAccount(), [], threading.Event()

    def work():
        ready.wait()
        for _ in range(3000):
            frame(account)
            if not account.counts().balanced:
                wrong.append(account.counts())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    ready.set()
    for thread in threads:
        thread.join()

    assert not wrong
    assert account.counts().published == 12000


def test_a_percentile_is_the_nearest_rank():
    values = [float(value) for value in range(100, 0, -1)]

    assert percentiles(values) == {50: 50, 95: 95, 99: 99}
    assert percentiles([7.0]) == {50: 7.0, 95: 7.0, 99: 7.0}
    assert percentiles([2.0, 1.0]) == {50: 1.0, 95: 2.0, 99: 2.0}


def test_only_drops_in_a_row_for_one_reason_are_a_streak(account):
    for reason in ('D02_oom', 'D02_oom', 'O01_superseded', 'D02_oom'):
        frame(account, reason)
    assert account.streak == ('D02_oom', 3)  # being superseded says nothing

    frame(account, 'I03_short')
    assert account.streak == ('I03_short', 1)

    frame(account)
    assert account.streak == ('', 0)


def test_a_healthy_camera_reports_its_rates(account, clock):
    for _ in range(30):
        clock.now += 0.1
        frame(account)

    assert judge(account, clock) == (OK, '10.0 frames/s in, 10.0 out')

    frame(account, 'O01_superseded')
    assert judge(account, clock)[0] == OK


def test_silence_bad_frames_and_odd_frames_have_different_levels(account, clock):
    assert judge(account, clock, Offer()) == (ERROR, '[G01] no publisher on /image_raw')
    assert judge(account, clock)[0] == WARN  # nothing yet

    frame(account)
    clock.now += 1.01
    assert judge(account, clock) == (ERROR, '[T03] no frame for 1.0 s on /image_raw')
    assert judge(account, clock, Offer())[1].endswith('(0 publishers)')

    frame(account, 'I03_short')
    assert judge(account, clock) == (ERROR, 'every frame is dropped, the last one as I03_short')

    frame(account)
    assert judge(account, clock) == (WARN, 'frames are dropped, the last one as I03_short')

    for _ in range(60):
        clock.now += 0.1
        frame(account)

    assert judge(account, clock)[0] == OK

    account.warned('I13_flat')
    assert judge(account, clock) == (WARN, 'frames are odd, the last one as I13_flat')


def test_wrong_publishers_are_named(account, clock):
    header = Offer((), ('std_msgs/msg/Header by node /c',))
    assert judge(account, clock, header) == (
        ERROR, '[G04] /image_raw is published as std_msgs/msg/Header by node /c; another type is '
               'wanted there')

    frame(account)
    both = Offer(('/a',), header.foreign)
    assert judge(account, clock, both)[0] == WARN
    assert judge(account, clock, Offer(('/a', '/b'))) == (
        WARN, '[G05] /image_raw has 2 publishers: /a, /b')
    assert judge(account, clock, Offer(('/a',), (), 'deaf'))[0] == ERROR


def test_frames_from_before_the_activation_do_not_count(account, clock):
    frame(account)
    clock.now += 10
    assert judge(account, clock, active_s=5.0)[0] == WARN
    assert judge(account, clock, Offer(), active_s=5.0) == (
        ERROR, '[G01] no publisher on /image_raw')


def test_a_diagnostic_with_a_reason_code_says_the_cure():
    entry = status('camera', 'front', Health(ERROR, '[G01] no publisher on /image'), {'a': '1'})
    assert {item.key: item.value for item in entry.values} == {
        'a': '1', 'cure': ReasonCode.NO_PUBLISHER.cure}

    # the control: health without a code
    entry = status('camera', 'front', Health(OK, '10.0 frames/s in, 10.0 out'), {'a': '1'})
    assert [item.key for item in entry.values] == ['a']
