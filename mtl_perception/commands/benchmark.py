# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl benchmark``: how fast this machine runs a model, in figures that can be compared."""

import argparse
import math
import shlex
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console

from mtl_perception.commands._options import (
    add_model_argument,
    add_precision_option,
    path_argument,
)
from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.benchmark.engine_level import EnginePlan, measure_engines
from mtl_perception.evaluation.benchmark.figure import draw
from mtl_perception.evaluation.benchmark.frames import bag_drive, parse_size, street_drive
from mtl_perception.evaluation.benchmark.machine import (
    cpus,
    load_average,
    machine_facts,
    versions,
)
from mtl_perception.evaluation.benchmark.node_level import (
    NodePlan,
    measure_nodes,
)
from mtl_perception.evaluation.benchmark.report import FORMAT, all_warnings, write_files
from mtl_perception.files import check_writable
from mtl_perception.inference.engines import ENGINES
from mtl_perception.inference.step_graph import read_manifest
from mtl_perception.middleware import check_environment, lack_of, missing_library

BUSY = 0.3
"""Load average per CPU before the start from which on the machine counts as busy."""
QUICK_S, FULL_S = 35.0, 600.0
"""Seconds after which no further round of the engines begins."""
QUICK_FRAMES, FRAMES = 30, 100
"""Frames of the node that are evaluated."""
SIZES = ('640x480', '1920x1080')
"""Camera images besides those of the network's size."""
QUICK_SIZES = SIZES[:1]
RATES = (10.0, 30.0, 60.0)
"""Fixed rates of the node, frames per second."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl benchmark``."""
    parser.description = (
        'Measure how fast this machine runs a model: every engine and precision by itself, and '
        'the node through DDS; the usual pattern of eager torch beside both. Writes '
        'benchmark.json, benchmark.md and benchmark.png.')
    add_model_argument(parser)

    parser.add_argument(
        '--output', type=path_argument, default=Path('benchmark'),
        help='folder of the files (default: benchmark)')
    parser.add_argument(
        '--quick', action='store_true',
        help='about three minutes: fewer rounds, one size of camera, one number of threads')

    # the engines
    parser.add_argument(
        '--level', default='all', choices=('all', 'engines', 'node'),
        help='what is measured (default: all)')
    parser.add_argument(
        '--engine', default='auto', choices=ENGINES,
        help='auto: every one that is installed; of the node, the one that it takes by itself '
        '(default: auto)')

    parser.add_argument(
        '--device', default='auto', choices=('auto', 'cpu', 'cuda', 'tensorrt'),
        help='auto: every one that this machine has (default: auto)')
    parser.add_argument(
        '--threads', type=int, nargs='+',
        help='numbers of CPU threads of the network (default: 1 and the number of CPUs)')

    parser.add_argument(
        '--sizes', nargs='+', metavar='WIDTHxHEIGHT',
        help=f"sizes of camera images (default: the network's, {' and '.join(SIZES)})")
    parser.add_argument('--rounds', type=int, help='how often everything takes its turn')

    # the node
    parser.add_argument(
        '--bag', type=path_argument,
        help='rosbag2 whose first images the node gets, in place of a street')
    parser.add_argument(
        '--node-size', metavar='WIDTHxHEIGHT',
        help="size of the street's images for the node (default: the network's)")
    parser.add_argument(
        '--rates', type=float, nargs='+',
        help='fixed rates of the node, frames per second (default: 10 30 60)')

    parser.add_argument(
        '--seconds', type=float,
        help='at each of them; ten minutes show the slope of the memory (default: 10)')
    add_precision_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark; the exit code is 0 also on a noisy machine, which the report says."""
    _check(arguments)
    plan = _plan(arguments)
    node_plan = _node_plan(arguments)
    check_writable(arguments.output)
    console = Console(stderr=True)
    began, started = time.monotonic(), datetime.now(timezone.utc)
    load = load_average()

    found: dict[str, Any] = {
        'format': FORMAT, 'machine': machine_facts(), 'versions': versions(),
        'model': _model_facts(arguments.model)}
    with console.status('') as status:
        if arguments.level != 'node':
            found['engine_level'] = measure_engines(plan, lambda text: status.update(text))
        if node_plan is not None:
            found['node_level'] = measure_nodes(
                node_plan, read_manifest(arguments.model), lambda text: status.update(text))

    found['conditions'] = {
        'command': shlex.join(['mtl', *sys.argv[1:]]),
        'started': started.isoformat(timespec='seconds'), 'quick': arguments.quick,
        'seconds': time.monotonic() - began, 'load_before': load,
        'load_after': load_average(), 'warnings': _busy(load)}
    print(write_files(found, arguments.output))
    if not draw(found, arguments.output / 'benchmark.png'):
        print('no figure: matplotlib is not installed', file=sys.stderr)
    for text in all_warnings(found):
        print(f'mtl benchmark: warning: {text}', file=sys.stderr)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """
    Refuse arguments that are out of range, and those that would change nothing.

    :raises ConfigurationError: naming the argument.
    """
    def positive(number: float | None) -> bool:
        return number is None or 0 < number < math.inf

    most = 4 * cpus()
    if arguments.rounds is not None and arguments.rounds < 1:
        raise ConfigurationError(f'--rounds is {arguments.rounds}; wanted at least 1')
    if not all(0 <= count <= most for count in arguments.threads or ()):
        raise ConfigurationError(
            f'--threads is {arguments.threads}; wanted 0 to {most}, four times the CPUs')
    if not positive(arguments.seconds) or not all(map(positive, arguments.rates or ())):
        raise ConfigurationError(
            f'--seconds is {arguments.seconds}, --rates {arguments.rates}; all must be positive '
            'and finite')

    of_level = {'engines': ('bag', 'node_size', 'rates', 'seconds', 'precision'),
                'node': ('sizes', 'rounds')}
    for name in of_level.get(arguments.level, ()):
        if getattr(arguments, name) not in (None, 'fp32'):
            raise ConfigurationError(
                f'--{name.replace("_", "-")} would change nothing with --level '
                f'{arguments.level}; leave one of them out')


def _plan(arguments: argparse.Namespace) -> EnginePlan:
    """Return what is measured of the engines."""
    quick = arguments.quick
    rounds = arguments.rounds or (8 if quick else 20)
    threads = list(dict.fromkeys(
        arguments.threads or sorted({1} if quick else {1, cpus()})))
    manifest = read_manifest(arguments.model)
    own = f'{manifest.width}x{manifest.height}'
    sizes = arguments.sizes or (QUICK_SIZES if quick else (own, *SIZES))
    return EnginePlan(
        arguments.model, (manifest.width, manifest.height),
        list(dict.fromkeys(map(parse_size, sizes))), arguments.engine, arguments.device,
        threads, rounds, 2 if quick else 3, QUICK_S if quick else FULL_S)


def _node_plan(arguments: argparse.Namespace) -> NodePlan | None:
    """
    Return what is measured of the node; None if nothing is.

    :raises ConfigurationError: if ROS is asked for and missing.
    """
    if arguments.level == 'engines':
        return None
    if missing := missing_library():
        text = f'{lack_of(missing)}. Without it the node is not measured'
        if arguments.level == 'node':
            raise ConfigurationError(text)
        print(f'mtl benchmark: {text}', file=sys.stderr)
        return None
    check_environment()

    quick = arguments.quick
    seconds = (2.0 if quick else 10.0) if arguments.seconds is None else arguments.seconds
    rates = list(dict.fromkeys(arguments.rates or RATES))
    manifest = read_manifest(arguments.model)

    count = QUICK_FRAMES if quick else FRAMES
    size = (parse_size(arguments.node_size) if arguments.node_size
            else (manifest.width, manifest.height))
    drive = (street_drive(size, count) if arguments.bag is None
             else bag_drive(arguments.bag, manifest, count))
    return NodePlan(
        arguments.model, drive, arguments.engine, arguments.device, arguments.precision,
        arguments.threads[0] if arguments.threads else 0, rates, seconds,
        1.5 if quick else 4.0, 5 if quick else 9)


def _model_facts(model: str) -> dict[str, Any]:
    """Return what identifies a model."""
    manifest = read_manifest(model)
    return {
        'name': manifest.name, 'sha256': manifest.sha256, 'motion_head': manifest.motion_head,
        'width': manifest.width, 'height': manifest.height, 'frames': manifest.network.frames,
        'encoder': manifest.network.encoder, 'tasks': [task.name for task in manifest.tasks]}


def _busy(load: float | None) -> list[str]:
    """Return a warning if other programs used the machine before the start."""
    if load is None or load <= BUSY * cpus():
        return []
    return [f'the load average was {load} on {cpus()} CPU(s) before the start; other programs '
            'were running']
