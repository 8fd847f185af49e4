# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Programs that have nothing to save, and how a signal or an error ends them."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import time
from mtl_perception.signals import interruptible

def main():
    print('ready', flush=True)
    time.sleep(60)

raise SystemExit(interruptible(main, 'some'))
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_program_with_130_and_one_line(number):
    program = subprocess.Popen(
        [sys.executable, '-c', PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # what starts tests in the background may have it ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    assert program.stdout.readline() == 'ready\n'
    program.send_signal(number)
    _, errors = program.communicate(timeout=30)

    assert (program.returncode, errors) == (130, 'some: interrupted\n')


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
