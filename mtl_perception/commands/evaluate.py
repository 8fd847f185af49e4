# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate``: measure a model on streets, a data set or a rosbag2."""

import argparse
import math
from collections.abc import Iterable
from pathlib import Path

from mtl_perception.bags.reader import ANSWERS, Bag, Moment
from mtl_perception.commands._options import (
    add_engine_options,
    add_model_argument,
    load_engine,
    progress,
    publish,
)
from mtl_perception.datasets.seeds import check_seeds, parse_seeds
from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation import bag_evaluation, dataset_evaluation, street_evaluation
from mtl_perception.evaluation.evaluators import LOWEST_SCORE
from mtl_perception.evaluation.report import Report, recording_facts
from mtl_perception.evaluation.street_evaluation import Moments
from mtl_perception.manifest import read_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl evaluate``."""
    add_model_argument(parser)

    # the synthetic street
    parser.add_argument(
        '--seeds', default='20000:20040',
        help='street seeds FIRST:END, from 20000 on (default: 20000:20040)')
    parser.add_argument(
        '--frames', type=int, default=Moments.frames,
        help='evaluated frames per street, spread over its drive (default: 10)')
    parser.add_argument(
        '--spacing', type=float, default=Moments.spacing,
        help='seconds between a frame and the one before (default: 0.1; up to 0.5)')
    parser.add_argument(
        '--camera-height', type=float, metavar='METRES',
        help='drive with a camera at this height, told to the model (default: each street draws '
        'one near that of the training, and the model is not told)')
    parser.add_argument(
        '--record', action='store_true', help="write the metrics into the model's manifest")

    add_engine_options(parser)
    parser.add_argument(
        '--output', type=Path, help='folder for report.json, report.md and report.html')

    # a data set
    parser.add_argument(
        '--data', type=Path, metavar='YAML',
        help='evaluate on recorded data: a recipe, or the YAML of mtl data check')
    parser.add_argument(
        '--part', default='validation', help='which of the data sets in that file (validation)')
    parser.add_argument(
        '--on-bad-sample', choices=('fail', 'skip'), default='fail',
        help='skip: leave out and count clips of --data that cannot be read, up to 0.1 %% of them')
    parser.add_argument('--root', type=Path, help='folder of that data set, in place of its own')

    # a recording
    parser.add_argument(
        '--bag', type=Path, metavar='BAG',
        help="evaluate the node's answers in a recording, against the ground truth in it or, with "
        '--data, the labels of images that are named by their stamps in nanoseconds')
    parser.add_argument(
        '--rerun', action='store_true',
        help='run the model on the images of the recording, in place of the recorded answers')
    parser.add_argument('--namespace', default='', help='of the camera in the recording')
    parser.add_argument(
        '--slop', type=float, default=0.0, metavar='MS',
        help='largest difference between the stamps of an image and its labels, milliseconds (0)')
    parser.add_argument(
        '--allow-truncated', action='store_true',
        help='evaluate the intact part of a recording that is cut short or damaged')


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl evaluate``."""
    if arguments.bag is not None:
        return _on_bag(arguments)
    if arguments.data is not None:
        return _on_data_set(arguments)
    return _on_streets(arguments)


def _on_streets(arguments: argparse.Namespace) -> int:
    """Evaluate on the test seeds of the synthetic street."""
    seeds = parse_seeds(arguments.seeds)
    if arguments.frames < 1 or not 0 < arguments.spacing <= 0.5:
        raise ConfigurationError(
            f'--frames is {arguments.frames} and --spacing {arguments.spacing} s; frames must be '
            'at least 1, the spacing above 0 and at most 0.5 s')
    if arguments.camera_height is not None and not 0.3 <= arguments.camera_height <= 3.0:
        raise ConfigurationError(
            f'--camera-height is {arguments.camera_height} m; it must be 0.3 to 3.0')
    check_seeds(seeds, 'test')

    engine = load_engine(arguments, minimum_score=LOWEST_SCORE)
    manifest = engine.manifest
    moments = Moments(
        arguments.frames, arguments.spacing, width=manifest.width, height=manifest.height,
        camera_height=arguments.camera_height)
    figures, examiner = street_evaluation.evaluate(
        engine, seeds, moments, lambda items: progress(items, 'streets'))

    figures = {'model': manifest.name, 'sha256': manifest.sha256, **figures}
    publish(Report(
        street_evaluation.title_of(figures), figures, pictures=examiner.pictures(), targets=True),
        arguments.output)
    if arguments.record:
        street_evaluation.record(arguments.model, figures)
    return 0


def _on_data_set(arguments: argparse.Namespace) -> int:
    """Evaluate on a recorded data set."""
    engine = load_engine(arguments, minimum_score=LOWEST_SCORE)
    data, words = dataset_evaluation.open_data(
        arguments.data, arguments.part, arguments.root, engine.manifest.network.frames)
    figures, examiner = dataset_evaluation.evaluate(
        engine, data, lambda items: progress(items, 'clips'), arguments.on_bad_sample == 'skip')

    figures = {
        'model': engine.manifest.name, 'sha256': engine.manifest.sha256, 'data': words, **figures}
    publish(Report(
        dataset_evaluation.title_of(figures), figures,
        notes=[f'Left out: {text}.' for text in figures['bad_samples']],
        pictures=examiner.pictures()), arguments.output)
    return 0


def _on_bag(arguments: argparse.Namespace) -> int:
    """Evaluate the answers in a recording, or those of the model on its images."""
    if not 0 <= arguments.slop < math.inf:
        raise ConfigurationError(f'--slop is {arguments.slop} ms; it must not be negative')
    manifest, _ = read_model(arguments.model)
    slop_ns = round(arguments.slop * 1e6)

    with Bag(arguments.bag, arguments.namespace, arguments.allow_truncated, slop_ns) as bag:
        bag.require(['image'])
        answers = [task.name for task in manifest.tasks if task.name in ANSWERS]
        if not bag.roles & {*answers}:
            bag.require(answers)

        labels, words = None, ''
        if arguments.data is not None:
            data, words = dataset_evaluation.open_data(
                arguments.data, arguments.part, arguments.root, 1)
            labels = bag_evaluation.labels_for(bag, manifest, data, slop_ns)
            words = f', labels of {words}'

        moments: Iterable[Moment] = bag.moments()
        if arguments.rerun:
            moments = bag_evaluation.again(bag, load_engine(arguments))
        score = bag_evaluation.judge(
            bag, progress(moments, 'frames', len(bag.stamps)), manifest, labels)
        figures = bag_evaluation.figures_of_bag(bag, score, manifest, labels)

    how = 'model run again' if arguments.rerun else 'as recorded'
    publish(Report(
        f'{arguments.bag}: {manifest.name}, {how}{words}', figures, recording_facts(figures),
        bag_evaluation.notes_of(figures), score.examiner.pictures()), arguments.output)
    bag_evaluation.check_matched(figures, arguments.bag)
    return 0
