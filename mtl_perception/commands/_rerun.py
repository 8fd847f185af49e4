# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Settings with which a model runs on a recording once more."""

import argparse
import dataclasses

from mtl_perception.bags.reader import Bag
from mtl_perception.commands._options import fit_of
from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation import bag_evaluation
from mtl_perception.inference.stream import StreamSettings


def settings_of_rerun(arguments: argparse.Namespace, bag: Bag) -> StreamSettings:
    """
    Return the settings of the node that made a recording; options take precedence.

    :raises ConfigurationError: if an option is out of range.
    """
    settings = bag_evaluation.recorded_settings(bag)
    given = {name: value for name, value in (
        ('max_gap_s', arguments.max_gap), ('camera_height', arguments.camera_height),
        ('rectify', arguments.rectify), ('depth_scale', arguments.depth_scale))
        if value is not None}
    try:
        settings = dataclasses.replace(
            settings, **given, fit=fit_of(arguments, settings.fit))
    except ValueError as error:
        raise ConfigurationError(f'--max-gap or --camera-height: {error}') from error
    if settings.depth_scale == 'odometry':
        raise ConfigurationError(
            'the scale of depth shall stand on the odometry, which --rerun does not read; give '
            '--depth-scale network or height')
    return settings
