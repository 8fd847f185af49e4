# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl describe``: the parts of a network and their sizes."""

import argparse
import json
from pathlib import Path

from rich.console import Console

from mtl_perception.manifest import read_model
from mtl_perception.training.config import load_config
from mtl_perception.training.data_sources import check_network, tasks_of
from mtl_perception.training.describe import as_json, as_table, describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl describe``."""
    parser.add_argument(
        'network', metavar='RECIPE.yaml|MODEL', help='a recipe, a .safetensors file, or the name '
        'of a shipped model')
    parser.add_argument(
        'overrides', nargs=argparse.REMAINDER, metavar='--KEY VALUE',
        help='settings that replace those of a recipe, such as --network.encoder resnet50')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl describe``."""
    late = '--json' in arguments.overrides
    overrides = [word for word in arguments.overrides if word != '--json']
    if arguments.network.endswith(('.yaml', '.yml')):
        config = load_config(arguments.network, overrides)
        check_network(config)
        last = config.stages[-1]
        spec = config.network.spec(
            tasks_of(config), transfer=config.loss.cross_task.kind != 'none')
        height, width = last.height, last.width
    else:
        manifest, _ = read_model(arguments.network)
        spec, height, width = manifest.network, manifest.height, manifest.width

    parts = describe(spec, height, width)
    if arguments.json or late:
        print(json.dumps(as_json(parts, spec, height, width), indent=2))
    else:
        Console().print(as_table(parts, spec, Path(arguments.network).stem, height, width))
    return 0
