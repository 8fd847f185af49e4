# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mtl_perception import __version__, cli
from mtl_perception.errors import CheckpointError, DataError, StorageError


@pytest.fixture
def command(monkeypatch):
    """Put a command whose run() is given in the place of `mtl doctor`."""
    def replace(run):
        module = SimpleNamespace(add_arguments=lambda parser: None, run=run)
        monkeypatch.setattr(cli, '_import', lambda name: module)
    return replace


@pytest.mark.parametrize(('error', 'code'), [
    (DataError('no image'), 3), (CheckpointError('cut', 'M02'), 4), (StorageError('full'), 5)])
def test_an_error_is_one_line_and_an_exit_code(command, capsys, error, code):
    def fail(arguments):
        raise error
    command(fail)
    assert cli.main(['doctor']) == code
    assert capsys.readouterr().err == f'mtl doctor: {error}\n'


def test_debug_shows_where_an_error_came_from(command):
    def fail(arguments):
        raise DataError('no image')
    command(fail)
    with pytest.raises(DataError, match='no image'):
        cli.main(['--debug', 'doctor'])


def test_interrupting_exits_with_130(command):
    def interrupt(arguments):
        raise KeyboardInterrupt
    command(interrupt)
    assert cli.main(['doctor']) == 130


def test_sigterm_ends_a_command_as_ctrl_c_does_and_leaves_the_handler_of_the_caller(
        command, capsys):
    command(lambda arguments: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert cli.main(['doctor']) == 130
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == 'mtl doctor: interrupted\n'


def test_interrupting_while_the_command_is_imported_is_told_in_one_line(monkeypatch, capsys):
    def interrupt(name):
        raise KeyboardInterrupt
    monkeypatch.setattr(cli.importlib, 'import_module', interrupt)
    assert cli.main(['doctor']) == 130
    assert capsys.readouterr().err == 'mtl doctor: interrupted\n'


def test_the_exit_code_is_the_commands(command):
    command(lambda arguments: 75)
    assert cli.main(['doctor']) == 75


def test_an_unknown_command_is_refused_with_the_list(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(['trian'])
    assert stopped.value.code == 2
    assert 'train' in capsys.readouterr().err


def test_a_missing_library_says_what_brings_it():
    code = ("import sys; sys.modules['rosbags'] = None; sys.modules['av'] = None\n"
            "sys.modules['pydantic'] = None\n"
            "from mtl_perception.cli import main; main(['train', 'x.yaml'])")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "mtl train: pip install 'mtl_perception[train]' brings the Python module 'pydantic'")


def test_help_answers_within_0_4_seconds_of_cpu_time():
    def cpu_seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, '-m', 'mtl_perception.cli', '--help'], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert all(verb in done.stdout for verb in cli.COMMANDS)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # the smallest of three: on a busy machine caches are cold
    assert min(cpu_seconds() for _ in range(3)) < 0.4


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(['--version'])
    assert capsys.readouterr().out == f'mtl_perception {__version__}\n'


@pytest.mark.parametrize('words', [
    ['--version'], ['train', '--print-schema'],
    ['train', str(Path(__file__).parents[2] / 'config/train/street.yaml'), '--print-config']])
def test_a_closed_pipe_ends_it_without_a_traceback(words):
    with subprocess.Popen(
            [sys.executable, '-m', 'mtl_perception.cli', *words], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE) as process:
        process.stdout.close()
        said = process.stderr.read().decode()
    if words != ['--version']:  # argparse has ended the process by then
        assert process.returncode == 141
    assert 'Traceback' not in said
