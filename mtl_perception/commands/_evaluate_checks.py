# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which arguments of ``mtl evaluate`` go together."""

import argparse
from collections.abc import Mapping
from typing import Any

from mtl_perception.errors import ConfigurationError

_ENGINE = {'engine', 'device', 'threads', 'precision', 'output'}
_SHOWN = {'camera_height', 'depth_scale', 'fit', 'roi'}
_BAG = {'model', 'bag', 'rerun', 'data', 'part', 'root', 'namespace', 'image_topic',
        'camera_info_topic', 'slop', 'allow_truncated', 'strict', 'image_range', *_ENGINE}

READS = {
    '--suite': {'suite', 'root', *_ENGINE},
    '--bag': _BAG,
    '--bag --rerun': {*_BAG, *_SHOWN, 'max_gap', 'rectify'},
    '--data': {'model', 'data', 'part', 'root', 'tasks', 'class_map', 'on_bad_sample',
               'image_range', *_ENGINE, *_SHOWN},
    '--data --objects': {'model', 'data', 'part', 'root', 'objects', 'image_range',
                         'camera_height', 'fit', 'roi', *_ENGINE},
    'streets': {'model', 'seeds', 'frames', 'spacing', 'look', 'camera_height', 'depth_scale',
                'record', 'workers', *_ENGINE},
    '--objects': {'model', 'seeds', 'frames', 'spacing', 'look', 'camera_height', 'objects',
                  *_ENGINE},
    '--calibrate': {'model', 'seeds', 'calibrate', *_ENGINE} - {'output'}}
"""What is evaluated -> the arguments that count then."""


def check_unread(arguments: argparse.Namespace, defaults: Mapping[str, Any]) -> None:
    """
    Refuse an argument that would change nothing.

    :param arguments: of the command line.
    :param defaults: name of an argument -> its value where it is not given.
    """
    mode = next((f'--{name}' for name in ('suite', 'bag', 'data')
                 if getattr(arguments, name) is not None), 'streets')
    if arguments.bag is not None and arguments.rerun:
        mode = '--bag --rerun'
    if mode == '--data' and arguments.objects:
        mode = '--data --objects'
    if mode == 'streets':
        mode = next((f'--{name}' for name in ('calibrate', 'objects')
                     if getattr(arguments, name)), mode)

    unread = [name for name, default in defaults.items()
              if name not in READS[mode] and getattr(arguments, name) != default]
    if unread:
        words = ', '.join('the model' if name == 'model' else f'--{name.replace("_", "-")}'
                          for name in unread)
        what = 'a model is evaluated on streets' if mode == 'streets' else f'{mode} is given'
        advice = ('; the entries of a suite say it themselves' if mode == '--suite' else '')
        raise ConfigurationError(
            f'{words} would change nothing where {what}; leave it out{advice}')


def check_precision(arguments: argparse.Namespace) -> None:
    """Refuse a precision below fp32 where no model runs, or where fp32 is meant."""
    if arguments.precision == 'fp32':
        return
    if arguments.bag is not None and not arguments.rerun:
        raise ConfigurationError(
            '--precision is that of a model that runs; with --bag that takes --rerun')
    if arguments.record or arguments.calibrate:
        raise ConfigurationError(
            f'--record and --calibrate are about fp32; leave --precision {arguments.precision}')
