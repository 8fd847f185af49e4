# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl export``: the model of a training, a mean of two, one for another size, or a graph."""

import argparse
from pathlib import Path

from mtl_perception.commands._options import path_argument
from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.benchmark.frames import parse_size
from mtl_perception.manifest import find_model, read_model
from mtl_perception.synthetic import Street
from mtl_perception.training.checkpoint import read_checkpoint
from mtl_perception.training.export import PRECISIONS, export_average, export_run, export_state
from mtl_perception.training.resized import export_resized

FORMATS = ('safetensors', 'onnx')
SAMPLE_STREETS = (20000, 20001)
"""Seeds of the streets on which a graph is compared with torch; no training saw them."""
FRAMES = 4
"""Consecutive frames of each of them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl export``."""
    parser.add_argument(
        'source', metavar='SOURCE', type=path_argument,
        help='a .ckpt file, or the folder of a run: its best weights; with --format onnx a '
        '.safetensors file or the name of a shipped model')

    parser.add_argument(
        '--format', choices=FORMATS, default=FORMATS[0],
        help='safetensors: weights and manifest of a training; onnx: a graph that the engines '
        'onnx and openvino run without torch (default: safetensors)')
    parser.add_argument(
        '--into', metavar='FILE', type=path_argument,
        help='the file to write; NAME.safetensors gets NAME.json beside it (default: in the '
        'folder of the run; with --format onnx beside the weights)')
    parser.add_argument(
        '--precision', choices=PRECISIONS, default=PRECISIONS[0],
        help='how weights are stored (default: fp16, half the size); a graph stores them as the '
        'model does')

    # the mean of two models
    parser.add_argument(
        '--average', metavar='MODEL', type=path_argument,
        help='average the weights of SOURCE, a model, with those of the one that its training '
        'began with')
    parser.add_argument(
        '--share', type=float, default=0.5,
        help="with --average: of SOURCE's weights, 0 to 1 (default: 0.5)")

    # the same weights for other images
    parser.add_argument(
        '--size', metavar='WIDTHxHEIGHT',
        help='make of SOURCE, a model, one for images of another size and the same proportions; '
        'it sees smaller things in larger images, for more time')


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl export``."""
    source: Path = arguments.source
    into: Path | None = arguments.into
    suffix = f'.{arguments.format}'
    if into is not None and into.suffix != suffix:
        raise ConfigurationError(f'--into is {into}; the name must end in {suffix}')
    made = [f'--{name}' for name in ('average', 'size') if getattr(arguments, name) is not None]
    if made and arguments.format == 'onnx':
        raise ConfigurationError(f'{made[0]} writes weights; make the graph of them afterwards')
    if len(made) > 1:
        raise ConfigurationError(f'{made[0]} and {made[1]} each make a model, one after the other')
    if made and into is None:
        raise ConfigurationError(f'{made[0]} needs --into NAME.safetensors: where to write it')

    if into is not None and arguments.average is not None:
        print(export_average(source, arguments.average, arguments.share, into))
        return 0
    if into is not None and arguments.size is not None:
        print(export_resized(source, *parse_size(arguments.size), into))
        return 0
    if arguments.format == 'onnx':
        print(_export_graph(source, into))
        return 0

    if source.is_dir():
        if into is None:
            into = source / f'{source.resolve().name}.safetensors'
        print(export_run(source, into, arguments.precision))
        return 0

    state = read_checkpoint(source)
    if into is None:
        folder = source.resolve().parent
        folder = folder.parent if folder.name == 'checkpoints' else folder
        into = folder / f'{folder.name}_{source.stem}.safetensors'
    print(export_state(state, into, arguments.precision))
    return 0


def _export_graph(source: Path, into: Path | None) -> str:
    """
    Write the graph of a model; return what was written, in words.

    :raises ConfigurationError: if the source is a training.
    """
    if source.is_dir() or source.suffix == '.ckpt':
        raise ConfigurationError(
            f'{source} is a training; first write its model with mtl export {source} --into '
            'NAME.safetensors, then the graph with mtl export NAME.safetensors --format onnx')

    # the libraries that write a graph are not needed for anything else
    from mtl_perception.inference.onnx_export import export_graph
    manifest, _ = read_model(source)
    images = []
    for seed in SAMPLE_STREETS:
        street = Street(seed, manifest.width, manifest.height)
        images += [street.render(index).image for index in range(FRAMES)]
    return export_graph(source, into or find_model(source).with_suffix('.onnx'), images)
