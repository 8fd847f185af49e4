# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl calibrate``: measure what precisions below fp32 cost a model, and note it for ``auto``."""

import argparse
from collections.abc import Iterable
from typing import Any

import numpy as np

from mtl_perception.commands._options import add_data_options, add_model_argument, progress
from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.seeds import check_seeds, parse_seeds
from mtl_perception.errors import (
    CheckpointError,
    ConfigurationError,
    DeviceError,
    PerceptionError,
)
from mtl_perception.evaluation import dataset_evaluation, street_evaluation
from mtl_perception.evaluation.precision_figures import Evaluation, measure, write_figures
from mtl_perception.evaluation.street_classes import check_street_classes
from mtl_perception.evaluation.street_evaluation import SamplingPlan
from mtl_perception.evaluation.task_evaluators import LOWEST_SCORE
from mtl_perception.files import check_writable
from mtl_perception.inference.engine import PRECISIONS, Engine
from mtl_perception.inference.engines import ENGINES, candidates, load_engine
from mtl_perception.inference.graph_engine import GraphEngine
from mtl_perception.inference.precision import (
    FEWEST_FRAMES,
    PREFERRED,
    Figures,
    described_manifest,
    objection,
    recorded,
)
from mtl_perception.inference.step_graph import read_manifest
from mtl_perception.manifest import find_model
from mtl_perception.preprocessing import resize
from mtl_perception.synthetic import Street
from mtl_perception.tasks import LOOKS

POSSIBLE = (*PREFERRED, ('torch', 'cpu', 'bf16'))
"""Engine, device and precision; the last is measured only if its engine is named."""
INT8_SEEDS = range(10_800, 10_816)
"""Streets from which int8 takes the ranges of its numbers; others than those evaluated."""
INT8_FRAMES = 4
"""Consecutive frames of each of them."""
INT8_CLIPS = 64
"""Clips of a data set from which it takes them, spread over all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl calibrate``."""
    parser.description = (
        'Run a model in fp32 and in lower precisions over the same frames, and write into its '
        'manifest what each costs; precision auto takes those within the tolerances of '
        'docs/engines.md. Confidences of classes and depth are something else: mtl evaluate '
        '--calibrate fits them.')
    add_model_argument(parser)

    # what is measured
    parser.add_argument(
        '--engine', default='auto', choices=ENGINES,
        help='auto: every one that is installed (default: auto)')

    parser.add_argument(
        '--device', default='auto', choices=('auto', 'cpu', 'cuda', 'tensorrt'),
        help='auto: every one that this machine has (default: auto)')
    parser.add_argument(
        '--precision', default='auto', choices=[one for one in PRECISIONS if one != 'fp32'],
        help='auto: every one that the engines have here; int8 also makes the file NAME.int8 '
        '(default: auto)')
    parser.add_argument(
        '--threads', type=int, default=0, help='CPU threads, 0 = automatic (default: 0)')

    # on which frames
    parser.add_argument(
        '--seeds', default='10900:10920',
        help='street seeds FIRST:END of the validation split, 10000 to 10999 (default: '
        '10900:10920)')
    parser.add_argument(
        '--frames', type=int, default=SamplingPlan.frames,
        help='evaluated frames per street, spread over its drive (default: 10)')
    parser.add_argument(
        '--look', choices=LOOKS, default=LOOKS[0], help='of the streets (default: classic)')

    add_data_options(parser, 'recorded and labelled data instead of streets')


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl calibrate``."""
    # what is wrong shows before anything runs
    if arguments.frames < 1:
        raise ConfigurationError(f'--frames is {arguments.frames}; it must be at least 1')
    seeds = parse_seeds(arguments.seeds)
    check_seeds(seeds, 'validation')
    _check_combination(arguments)
    check_writable(find_model(arguments.model).parent)

    # the frames
    manifest = described_manifest(arguments.model) or read_manifest(arguments.model)
    data, words = None, f'streets {min(seeds)} to {max(seeds)}'
    if arguments.look != LOOKS[0]:
        words += f', look {arguments.look}'
    if arguments.data is None:
        check_street_classes(manifest, arguments.look)
    else:
        data, words = dataset_evaluation.open_data(
            arguments.data, arguments.part, arguments.root, manifest.network.frames)

    # One engine after the other; what cannot run here is left out, unless it was named.
    found: list[Figures] = []
    for engine in _engines(arguments):
        reference, others = _loaded(arguments, engine, data)
        if reference is not None and others:
            evaluate = _evaluation(arguments, seeds, data)
            found += measure(reference, others, evaluate, words, arguments.model)
    if not found:
        raise ConfigurationError(
            'no precision below fp32 was measured: no engine here has one; nothing was written')

    # few frames do not take the place of many
    written = []
    for one in found:
        print(f'{one.name}: {one.text()}')

        before = recorded(manifest, one.engine, one.device, one.precision)
        if before is not None and before.graph == one.graph and (
                one.frames < FEWEST_FRAMES <= before.frames):
            print(f'  not written: those of {before.frames} frames in the manifest stay, because '
                  f'fewer than {FEWEST_FRAMES} do not count')
            continue

        written.append(one)
        reason = objection(one, manifest)
        print(f'  auto leaves it: {reason}' if reason else '  within the tolerances of auto')
    if written:
        print(f'written into {write_figures(arguments.model, written)}')
    return 0


def _check_combination(arguments: argparse.Namespace) -> None:
    """
    Refuse an engine, a device and a precision that do not go together.

    :raises ConfigurationError: naming those that do.
    """
    asked = (arguments.engine, arguments.device, arguments.precision)
    possible = POSSIBLE if arguments.engine != 'auto' else PREFERRED
    if not any(all(one in ('auto', there) for one, there in zip(asked, row)) for row in possible):
        raise ConfigurationError(
            f'--engine {asked[0]} --device {asked[1]} --precision {asked[2]} do not go together; '
            f'there are {", ".join(" ".join(row) for row in POSSIBLE)}')


def _engines(arguments: argparse.Namespace) -> list[str]:
    """Return the engines that are measured."""
    if arguments.engine != 'auto':
        return candidates(arguments.model, arguments.engine)
    found: list[str] = []
    for name in dict.fromkeys(engine for engine, _, _ in PREFERRED):
        try:
            found += candidates(arguments.model, name)
        except PerceptionError as error:
            print(f'engine {name} is left out: {error}')
    return found


def _loaded(
    arguments: argparse.Namespace, engine: str, data: RecordedClips | None,
) -> tuple[Engine | None, list[Engine]]:
    """Return an engine in fp32, and in every precision that it has here and that was asked for."""
    reference: Engine | None = None
    others: list[Engine] = []
    for name, device, precision in POSSIBLE if arguments.engine != 'auto' else PREFERRED:
        if name != engine or arguments.device not in ('auto', device) \
                or arguments.precision not in ('auto', precision):
            continue

        def load(kind: str, low: str, engine: str = engine) -> Engine:
            return load_engine(
                arguments.model, engine, kind, low, arguments.threads, LOWEST_SCORE)

        try:
            # fp32 of TensorRT may be TF32; that of CUDA is not
            if reference is None:
                reference = load('auto' if device == 'tensorrt' else device, 'fp32')
            if precision == 'int8':
                _make_int8(arguments, reference, data)
            others.append(load(device, precision))
        except (CheckpointError, ConfigurationError, DeviceError) as error:
            if arguments.precision != 'auto':
                raise
            print(f'{engine} {device} {precision} is left out: {error}')
    return reference, others


def _evaluation(
    arguments: argparse.Namespace, seeds: list[int], data: RecordedClips | None,
) -> Evaluation:
    """Return what runs an engine over the frames."""
    def on_streets(engine: Engine) -> dict[str, Any]:
        size = engine.manifest
        plan = SamplingPlan(
            arguments.frames, width=size.width, height=size.height, look=arguments.look)
        return street_evaluation.evaluate(
            engine, seeds, plan, lambda items: progress(items, _words(engine)),
            split='validation')[0]

    def on_data(engine: Engine) -> dict[str, Any]:
        assert data is not None
        return dataset_evaluation.evaluate(
            engine, data, lambda items: progress(items, _words(engine)))[0]

    return on_streets if data is None else on_data


def _words(engine: Engine) -> str:
    """Return engine and precision, for a progress bar."""
    return f'{engine.setup.engine} {engine.setup.precision}'


def _make_int8(
    arguments: argparse.Namespace, engine: Engine, data: RecordedClips | None,
) -> None:
    """Write the ``.int8`` file of the model from frames of streets or of the data."""
    from mtl_perception.inference.int8 import quantise
    assert isinstance(engine, GraphEngine)
    manifest = engine.manifest

    def of_streets() -> Iterable[list[Any]]:
        for seed in INT8_SEEDS:
            street = Street(
                seed, manifest.width, manifest.height,
                **({} if arguments.look == LOOKS[0] else {'look': arguments.look}))
            yield [street.render(number).image for number in range(INT8_FRAMES)]

    def of_data() -> Iterable[list[Any]]:
        assert data is not None
        for number in np.unique(np.linspace(0, len(data) - 1, INT8_CLIPS).astype(int)):
            images = data[int(number)].image
            yield [resize(image, manifest.height, manifest.width) for image in images]

    path = quantise(arguments.model, engine, of_streets() if data is None else of_data())
    print(f'{path}: {path.stat().st_size / 1e6:.1f} MB')
