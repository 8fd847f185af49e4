# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Programs as processes: their end, their logs, their environment."""

import os
import time
from pathlib import Path

import pytest

from mtl_perception.evaluation import live_recording

pytest.importorskip('rosbags')

from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.live_recording import LivePlan, record_live
from mtl_perception.evaluation.processes import (
    Program,
    ProgramError,
    graph_environment,
    share_file,
    stop_all,
)

POLITE = """
import json, signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
print(json.dumps({'/image_raw': 3}), flush=True)
print('hello', flush=True)
print('a warning', file=sys.stderr, flush=True)
time.sleep(60)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print('{"deaf": 1}', flush=True)
time.sleep(60)
"""
FAILING = "import sys; print('the reason', file=sys.stderr); sys.exit(4)"
ENDING = 'pass'


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Return a function that starts a script as a program."""
    folder = tmp_path / 'scripts'
    folder.mkdir()
    environment = {**os.environ, 'PYTHONPATH': str(folder)}
    programs = []

    def start(name, script):
        (folder / f'{name}.py').write_text(script)
        programs.append(Program(name, name, [], tmp_path, environment))
        return programs[-1]

    yield start
    for program in programs:
        program.kill()


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_counts_are_read_and_everything_else_is_logged(start):
    program = start('polite', POLITE)
    wait_for(lambda: len(program.last_lines()) == 2)
    assert program.counts == {'/image_raw': 3}
    assert sorted(program.last_lines()) == ['a warning', 'hello']
    assert program.running
    assert program.stop() == 0
    assert not program.running


def test_a_program_that_does_not_listen_is_killed(start):
    program = start('deaf', DEAF)
    wait_for(lambda: program.counts)
    assert program.stop(timeout_s=0.3) == -9


def test_a_program_that_failed_says_why_and_passes_its_exit_code_on(start):
    program = start('failing', FAILING)
    assert program.wait(10) == 4
    with pytest.raises(ProgramError, match=r'(?s)exit code 4.*the reason') as refusal:
        program.check()
    assert refusal.value.exit_code == 4
    start('ending', ENDING).wait(10)


def test_programs_are_stopped_in_the_given_order(start):
    programs = [start(f'polite{number}', POLITE) for number in range(3)]
    wait_for(lambda: all(program.counts for program in programs))
    ended = []
    for number, program in enumerate(programs):
        program.stop = lambda timeout_s, number=number, stop=program.stop: (
            ended.append(number), stop(timeout_s))
    stop_all(programs)

    assert ended == [0, 1, 2]
    assert not any(program.running for program in programs)


def test_the_graph_is_private_unless_the_user_chose_one(monkeypatch):
    for name in ('DOMAIN_ID', 'AUTOMATIC_DISCOVERY_RANGE'):
        monkeypatch.delenv(f'ROS_{name}', raising=False)
    monkeypatch.delenv('FASTDDS_DEFAULT_PROFILES_FILE', raising=False)
    environment = graph_environment()

    assert 1 <= int(environment['ROS_DOMAIN_ID']) <= 101
    assert environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert Path(environment['FASTDDS_DEFAULT_PROFILES_FILE']).name == 'fastdds.xml'
    assert len({graph_environment()['ROS_DOMAIN_ID'] for _ in range(50)}) > 5

    monkeypatch.setenv('ROS_DOMAIN_ID', '7')
    monkeypatch.setenv('FASTDDS_DEFAULT_PROFILES_FILE', '/mine.xml')
    environment = graph_environment()

    assert environment['ROS_DOMAIN_ID'] == '7'
    assert environment['FASTDDS_DEFAULT_PROFILES_FILE'] == '/mine.xml'


def test_a_file_of_the_share_folder_is_found_or_not():
    assert share_file('config/fastdds.xml').is_file()
    assert share_file('config/no_such_file') is None


def test_an_earlier_bag_is_replaced_but_no_other_file(tmp_path):
    bag = tmp_path / 'bag'
    bag.mkdir()
    (bag / 'bag.mcap').write_text('old')
    (bag / 'metadata.yaml').write_text('old')
    (bag / 'thesis.tex').write_text('years of work')

    with pytest.raises(ConfigurationError, match=r'thesis\.tex'):
        record_live(LivePlan({'frames': 1}), tmp_path, lambda *_: None)
    assert (bag / 'bag.mcap').exists()

    (bag / 'thesis.tex').unlink()
    live_recording._clear(bag)

    assert not bag.exists()


def test_parameters_keep_their_types_on_the_command_line():
    assert live_recording.parameters({'model': 'yes', 'rate': 10.0, 'loop': True, 'count': 3,
                             'path': "it's"}) == [
        '--ros-args', '-p', "model:='yes'", '-p', 'rate:=10.0', '-p', 'loop:=true',
        '-p', 'count:=3', '-p', "path:='it''s'"]


def test_a_node_that_ends_at_once_ends_the_run_with_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr(live_recording, 'graph_environment', lambda: {
        **os.environ, 'PYTHONPATH': str(tmp_path), 'PYTHONUNBUFFERED': '1'})

    class Broken(Program):
        """Starts scripts of the test in place of the real programs."""

        def __init__(self, name, module, arguments, logs, environment):
            script = FAILING if name == 'perception_node' else POLITE
            (tmp_path / f'{name}.py').write_text(script)
            super().__init__(name, name, arguments, logs, environment)
            started.append(self)
    started = []
    monkeypatch.setattr(live_recording, 'Program', Broken)

    with pytest.raises(ProgramError, match=r'(?s)perception_node ended.* 4.*the reason'):
        record_live(LivePlan({'frames': 1}), tmp_path, lambda *_: None)
    assert [program.name for program in started] == [
        'recorder', 'perception_node', 'camera_source']
    assert not any(program.running for program in started)
