# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The ``mtl`` command: one subcommand per job.

Exit codes: 0 done, 2 usage or configuration, 3 data, 4 model or checkpoint, 5 disk, 6 not a
number, 7 device, 75 stopped with a checkpoint saved, 129 the terminal was closed, 130 interrupted,
141 nobody reads the output.
"""

import argparse
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from mtl_perception import __version__
from mtl_perception.errors import PerceptionError
from mtl_perception.signals import interruptible


class CommandModule(Protocol):
    """What each file of ``commands`` offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the subcommand's arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do the job and return the exit code."""

COMMANDS = {
    'demo': 'camera, node and recorder in one run, evaluated',
    'data': 'look at a data set before training on it',
    'train': 'train a network from a recipe',
    'find-lr': 'raise the learning rate until the losses rise, and draw the curve',
    'finetune': 'go on from a model on your own labelled images',
    'adapt': 'adapt a model to a camera, from images without labels',
    'export': 'write the model that a training has learned',
    'calibrate': 'measure what precisions below fp32 cost a model, for precision auto',
    'train-motion': 'train the head that tells moving objects from parked ones',
    'describe': 'the parts of a network and their sizes',
    'compare': 'the same training in several ways, and the table that compares them',
    'search': "evolve the weights of the tasks' losses",
    'plot': 'draw the curves of trainings on one figure',
    'evaluate': 'measure a model on streets it never saw, a data set or a rosbag2',
    'evaluate-motion': 'measure ego-motion and moving objects on such streets',
    'predict': 'every frame of a video, a folder or a rosbag2 through a model',
    'benchmark': 'measure how fast this machine runs a model',
    'record': 'write the topics of the node into a rosbag2 (mcap)',
    'play': 'publish the messages of a rosbag2',
    'view': 'show the topics of the node in a browser',
    'doctor': 'say what this machine has and what is missing',
}
"""Verb -> help; ``commands/VERB.py`` has ``add_arguments(parser)`` and ``run(arguments)``."""

EXTRAS = {
    **dict.fromkeys(
        ('benchmark', 'calibrate', 'demo', 'data', 'evaluate', 'evaluate-motion', 'predict',
         'record', 'play', 'doctor'), 'evaluate'),
    'export': 'onnx-export', 'view': 'view'}
"""Verb -> the extra that brings the libraries of its file; for the others it is ``train``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run one subcommand.

    :param arguments: the command line without the program's name; ``sys.argv`` by default.
    :return: the exit code.
    """
    # names of files may hold bytes that are no text
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = next((word for word in words if not word.startswith('-')), '')
    try:
        # also while the libraries of the verb are imported, which takes seconds
        code = interruptible(lambda: _run(words, verb), f'mtl {verb}', raises=True)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # the reader has gone, as head does; Python flushes once more at exit, into nothing
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _run(words: Sequence[str], verb: str) -> int:
    """Run one subcommand and return its exit code; an error of the package becomes one line."""
    parser = argparse.ArgumentParser(
        prog='mtl', description='Multi-task perception: train, measure and show it.')
    parser.add_argument('--version', action='version', version=f'mtl_perception {__version__}')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')

    # Only the file of the chosen verb is imported: --help stays fast, and a verb works without
    # the libraries of the others.
    subparsers = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, text in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=text, description=text)
        if name == verb:
            module = _import(name)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    parsed = parser.parse_args(words)

    try:
        return int(parsed.run(parsed))
    except PerceptionError as error:
        if parsed.debug:
            raise
        print(f'mtl {parsed.command}: {error}', file=sys.stderr)
        return error.exit_code


def _import(command: str) -> CommandModule:
    """Import the module of a subcommand, or say which extra brings what it lacks."""
    module_name = f'mtl_perception.commands.{command.replace("-", "_")}'
    try:
        return cast(CommandModule, importlib.import_module(module_name))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split('.')[0] == 'mtl_perception':
            raise
        print(
            f"mtl {command}: pip install 'mtl_perception[{EXTRAS.get(command, 'train')}]' brings "
            f'the Python module {error.name!r}, which is not installed', file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == '__main__':
    raise SystemExit(main())
