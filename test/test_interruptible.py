# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Programs that have nothing to save, and how a signal or an error ends them."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios

import pytest

from mtl_perception.signals import interruptible

PROGRAM = """
import time
from mtl_perception.signals import interruptible

def main():
    print('ready', flush=True)
    time.sleep(60)

raise SystemExit(interruptible(main, 'some'))
"""


CAREFUL = """
import sys
import time
from mtl_perception.signals import interruptible

def main():
    try:
        print('ready', flush=True)
        time.sleep(60)
    finally:
        print('saving', flush=True)
        time.sleep(0.1)
        print('saved', flush=True)
        open(sys.argv[1], 'w').close()

raise SystemExit(interruptible(main, 'some'))
"""


def heard():
    """Let a process hear what the one that starts tests in the background may have ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def started(program=PROGRAM, before=heard, words=()):
    process = subprocess.Popen(
        [sys.executable, '-c', program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=before)
    assert process.stdout.readline() == 'ready\n'
    return process


@pytest.mark.parametrize(('number', 'code'), [
    (signal.SIGTERM, 130), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_program_with_its_code_and_one_line(number, code):
    program = started()
    program.send_signal(number)
    _, errors = program.communicate(timeout=30)

    assert (program.returncode, errors) == (code, 'some: interrupted\n')


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_is_repeated_at_once_does_not_break_off_the_cleaning_up(tmp_path, number):
    """As timeout sends it: to the program, and to its group."""
    program = started(CAREFUL, words=[tmp_path / 'saved'])
    program.send_signal(number)
    assert program.stdout.readline() == 'saving\n'
    program.send_signal(number)
    said, errors = program.communicate(timeout=30)

    assert (said, errors) == ('saved\n', 'some: interrupted\n')
    assert (tmp_path / 'saved').exists()


def test_a_hangup_that_is_ignored_does_not_end_a_program():
    program = started(
        PROGRAM.replace('60', '1'), lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    program.send_signal(signal.SIGHUP)

    assert (*program.communicate(timeout=30), program.returncode) == ('', '', 0)


def test_a_program_whose_terminal_is_closed_cleans_up_and_ends_with_129(tmp_path):
    outer, inner = pty.openpty()

    def before():
        heard()
        fcntl.ioctl(inner, termios.TIOCSCTTY, 0)

    program = subprocess.Popen(
        [sys.executable, '-c', CAREFUL, tmp_path / 'saved'], stdin=inner, stdout=inner,
        stderr=inner, start_new_session=True, preexec_fn=before)
    os.close(inner)
    with open(outer, 'rb', 0) as terminal:
        assert terminal.readline() == b'ready\r\n'

    assert program.wait(timeout=30) == 129
    assert (tmp_path / 'saved').exists()


def test_handlers_are_those_of_the_caller_afterwards():
    numbers = signal.SIGTERM, signal.SIGHUP, signal.SIGINT
    before = [signal.getsignal(number) for number in numbers]
    assert interruptible(lambda: 3, 'some') == 3
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.parametrize(('line', 'code'), [('return None', 0), ('return 3', 3)])
def test_a_program_that_comes_to_its_end_has_its_own_exit_code(line, code):
    program = PROGRAM.replace('time.sleep(60)', line)
    assert subprocess.run([sys.executable, '-c', program], check=False).returncode == code


def test_an_error_of_the_package_is_one_line():
    done = subprocess.run(
        [sys.executable, '-m', 'mtl_perception.evaluation.motion_benchmark', 'no_such_model'],
        capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (4, '')
    line, = done.stderr.splitlines()
    assert line.startswith("motion_benchmark: [M01] model 'no_such_model'")
