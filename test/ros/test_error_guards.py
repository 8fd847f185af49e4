# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The guards that keep one error from ending the process."""

import logging

import pytest

pytest.importorskip('rclpy')

from rclpy.lifecycle import TransitionCallbackReturn

from mtl_perception.errors import CheckpointError, FrameError
from mtl_perception.ros.error_guards import (
    detail_of,
    guarded,
    reason_of,
    transition,
)
from mtl_perception.ros.log_text import Throttle, printable


class Node:
    last_error = ''
    callback_errors = 0
    exit_code = None

    def get_logger(self):
        return logging.getLogger('test')

    def request_exit(self, code, reason):
        self.exit_code = code

    @transition
    def on_something(self, state):
        if isinstance(state, BaseException):
            raise state
        return state


@pytest.mark.parametrize(('outcome', 'answer'), [
    (TransitionCallbackReturn.SUCCESS, 'SUCCESS'), (TransitionCallbackReturn.FAILURE, 'FAILURE'),
    (None, 'ERROR'), (True, 'ERROR'), ('SUCCESS', 'ERROR'), (ValueError('bug'), 'ERROR'),
    (CheckpointError('no', 'M01'), 'FAILURE'), (KeyboardInterrupt(), 'ERROR'),
    (SystemExit(3), 'ERROR'), (GeneratorExit(), 'ERROR')])
def test_a_transition_always_returns_the_enumeration(outcome, answer):
    node = Node()
    assert node.on_something(outcome) == getattr(TransitionCallbackReturn, answer)

    interrupted = isinstance(outcome, BaseException) and not isinstance(outcome, Exception)
    assert node.exit_code == (130 if interrupted else None)
    assert bool(node.last_error) == (outcome not in TransitionCallbackReturn.__members__.values())


def test_a_callback_that_raises_is_logged_but_not_every_time(caplog):
    node = Node()
    call = guarded(node, Throttle(), lambda value: 1 // value, fallback=-1)
    assert [call(1), call(0), call(0), call(0)] == [1, -1, -1, -1]
    assert len(caplog.records) == 1
    assert 'ZeroDivisionError' in caplog.text
    assert (node.callback_errors, node.last_error) == (3, '')


def test_a_line_per_key_and_period():
    now = [0.0]
    throttle = Throttle(5.0, lambda: now[0])
    assert [throttle.due('a'), throttle.due('a'), throttle.due('b')] == [True, False, True]

    now[0] = 5.0
    assert [throttle.due('a'), throttle.due('a')] == [True, False]


def test_control_characters_from_outside_do_not_reach_the_terminal():
    assert printable('a\nb\x1b[31m\x00\u202e') == 'a?b?[31m??'
    assert len(printable('x' * 10 ** 6)) == 300


class OutOfMemoryError(RuntimeError):
    pass


@pytest.mark.parametrize(('error', 'reason'), [
    (FrameError('x', 'I03_short'), 'I03_short'), (FrameError('x'), 'E00_internal'),
    (MemoryError(), 'O07_memory'), (OutOfMemoryError('x'), 'D02_oom'),
    (RuntimeError('CUDA error: x'), 'D03_device'), (RuntimeError('x'), 'E00_internal'),
    (RuntimeError('CUDA error: out of memory'), 'D02_oom'),
    (RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED'), 'D02_oom'),
    (RuntimeError('cuDNN error: CUDNN_STATUS_EXECUTION_FAILED'), 'D03_device'),
    (ValueError('CUDA error'), 'E00_internal')])
def test_errors_have_reasons(error, reason):
    assert reason_of(error) == reason


def test_a_detail_does_not_repeat_the_reason():
    assert detail_of(FrameError('is short', 'I03_short')) == 'is short'
    assert detail_of(ValueError('x')) == 'ValueError: x'
