# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One function for many jobs, in several processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mtl_perception.errors import DataError
from mtl_perception.parallel import WorkerError, in_processes


def square(tool, number):
    return os.getpid(), tool + number * number


def half_a_second_for_the_first(_, number):
    time.sleep(0.5 * (number == 0))
    return number


def fail(_, number):
    if number == 2:
        raise DataError('the file is torn', 'X99_torn')
    return number


def die(_, number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return number


def deaf(_, number):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(0.3)
    return os.getpid()


def seven():
    return 7


def no_tool():
    raise DataError('there is no model')


def run(work, jobs=range(4), workers=2, make_tool=seven):
    return in_processes(work, list(jobs), workers, make_tool, lambda job: f'job {job}')


def test_results_come_in_the_order_of_the_jobs_and_from_other_processes():
    found = list(run(square, range(6)))
    assert [value for _, value in found] == [7, 8, 11, 16, 23, 32]
    assert os.getpid() not in {process for process, _ in found}
    assert list(run(half_a_second_for_the_first)) == [0, 1, 2, 3]
    assert list(run(square, [])) == []


def test_the_error_of_a_job_keeps_its_class_and_code_and_gets_the_name_of_the_job():
    results = run(fail)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(DataError, match=r'job 2: \[X99_torn\] the file is torn') as refusal:
        next(results)
    assert refusal.value.code == 'X99_torn'


def test_a_tool_that_cannot_be_made_is_not_the_fault_of_a_job():
    with pytest.raises(DataError, match=r'^there is no model$'):
        list(run(square, make_tool=no_tool))


def test_a_process_that_dies_ends_the_calculation_with_the_jobs_it_may_have_had():
    with pytest.raises(WorkerError, match=r'worked on .*job 1.* died'):
        list(run(die, workers=1))


def test_a_process_that_dies_while_the_caller_is_busy_is_told_the_same_way():
    results = run(die, workers=1)
    assert next(results) == 0
    time.sleep(3)
    with pytest.raises(WorkerError, match=r'worked on .*job 1.* died'):
        list(results)


def test_a_process_that_dies_after_its_last_job_does_not_hold_up_the_end():
    """The other one has nothing to do any more, and does not hear the SIGTERM of the pool."""
    found = []
    for process in run(deaf):
        found.append(process)
        if len(found) == 4:
            os.kill(process, signal.SIGKILL)
            time.sleep(0.5)
    assert len(found) == 4


PROGRAM = """
import os, signal, sys, time
from mtl_perception.parallel import in_processes

def wait(_, number):
    os.write(1, f'{os.getpid()}\\n'.encode())
    time.sleep(60)

def tool():
    return None

if __name__ == '__main__':
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    list(in_processes(wait, [1, 2, 3], 2, tool, str))
"""


@pytest.mark.parametrize('to_all', [True, False])
def test_ctrl_c_ends_every_process_at_once_and_only_the_parent_answers(tmp_path, to_all):
    (tmp_path / 'program.py').write_text(PROGRAM)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / 'program.py')], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True)
    workers = [int(parent.stdout.readline()) for _ in range(2)]

    start = time.monotonic()
    (os.killpg if to_all else os.kill)(parent.pid, signal.SIGINT)
    _, errors = parent.communicate(timeout=40)

    assert time.monotonic() - start < 30  # a job would take 60 s
    assert errors.count('KeyboardInterrupt') == 1
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


STOPPING = """
import os, time
from mtl_perception.parallel import in_processes
from mtl_perception.signals import StopRequest

def wait(_, number):
    os.write(1, b'working\\n')
    time.sleep(1)
    return number

def tool():
    return None

if __name__ == '__main__':
    with StopRequest() as stop:
        for number in in_processes(wait, list(range(20)), 2, tool, str):
            if stop.received:
                print(stop.received, 'after job', number)
                break
"""


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT', 'SIGHUP'])
def test_a_request_to_stop_leaves_the_jobs_under_way_alone(tmp_path, name):
    """The signal goes to the whole group, as from a terminal, ``timeout`` or a batch system."""
    (tmp_path / 'program.py').write_text(STOPPING)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / 'program.py')], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert parent.stdout.readline() == 'working\n'
    os.killpg(parent.pid, getattr(signal, name))
    said, errors = parent.communicate(timeout=40)

    assert f'{name} after job 0' in said
    assert (parent.returncode, errors) == (0, '')
