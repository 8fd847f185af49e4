# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate``: measure a model on streets, a data set or a rosbag2."""

import argparse
import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from mtl_perception.bags.reader import Bag
from mtl_perception.commands._evaluate_checks import check_precision, check_unread
from mtl_perception.commands._evaluate_objects import objects_of_data
from mtl_perception.commands._evaluate_suite import on_suite
from mtl_perception.commands._options import (
    add_camera_options,
    add_data_options,
    add_depth_scale_option,
    add_engine_options,
    add_fit_options,
    add_model_argument,
    add_precision_option,
    add_range_option,
    fit_of,
    load_engine,
    path_argument,
    progress,
    publish,
)
from mtl_perception.commands._rerun import settings_of_rerun
from mtl_perception.datasets.class_table import read_class_map
from mtl_perception.datasets.seeds import check_seeds, parse_seeds
from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation import (
    bag_evaluation,
    dataset_evaluation,
    object_evaluation,
    street_evaluation,
)
from mtl_perception.evaluation.calibrate import calibrate
from mtl_perception.evaluation.evaluator import Evaluator
from mtl_perception.evaluation.report import Report, ran_text, recording_facts
from mtl_perception.evaluation.report_files import write_json
from mtl_perception.evaluation.street_evaluation import SamplingPlan
from mtl_perception.evaluation.task_evaluators import LOWEST_SCORE
from mtl_perception.frames import FrameRecord
from mtl_perception.image_range import ImageRange
from mtl_perception.inference import engines
from mtl_perception.inference.step_graph import read_manifest
from mtl_perception.manifest import Manifest, shipped_models
from mtl_perception.parallel import cpu_count
from mtl_perception.tasks import LOOKS
from mtl_perception.topics import PREDICTIONS

MOST_ON_GPU = 4
"""Processes that share a GPU by default; each takes some hundred MB of its memory."""
CALIBRATION_SEEDS = 10_000, 10_030
"""Streets that confidences are fitted on: the first and the one behind the last."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl evaluate``."""
    add_model_argument(parser, None, 'street; with --bag the shipped model that the node ran')

    # the synthetic street
    parser.add_argument(
        '--seeds', default='20000:20040',
        help='street seeds FIRST:END, from 20000 on (default: 20000:20040)')
    parser.add_argument(
        '--frames', type=int, default=SamplingPlan.frames,
        help='evaluated frames per street, spread over its drive (default: 10)')
    parser.add_argument(
        '--spacing', type=float, default=SamplingPlan.spacing,
        help='seconds between a frame and the one before (default: 0.1; up to 0.5)')

    parser.add_argument(
        '--look', choices=LOOKS, default=LOOKS[0],
        help='of the streets: classic (default), or roads with fences and what else real roads '
        'show')
    parser.add_argument(
        '--camera-height', type=float, metavar='METRES',
        help='height of the camera above the ground, told to the model: on streets, which are '
        'driven with such a camera (default: each draws one, and the model is not told), with '
        '--data (default: that of the training), and with --rerun (default: what the node '
        'reported in the recording)')

    add_depth_scale_option(parser)
    parser.add_argument(
        '--record', action='store_true', help="write the metrics into the model's manifest")

    parser.add_argument(
        '--calibrate', action='store_true',
        help='fit how likely classes and depth are right on 30 validation streets, test it on '
        '--seeds, and write it into the manifest of the model')

    parser.add_argument(
        '--objects', action='store_true',
        help='evaluate ids and velocities of objects over --frames frames in a row of each '
        'street, or with --data how often the ids of its largest objects change')

    add_engine_options(parser)
    add_precision_option(parser)
    parser.add_argument(
        '--workers', type=int, metavar='N',
        help='processes that evaluate streets, each with a network of its own and, by default, '
        'one thread; 0 = in this process, with figures that may differ in their last digits '
        '(default: one per CPU, on a GPU one)')
    parser.add_argument(
        '--output', type=path_argument, help='folder for report.json, report.md and report.html')

    # a data set
    add_data_options(parser, 'evaluate on recorded data')
    parser.add_argument(
        '--on-bad-sample', choices=('fail', 'skip'), default='fail',
        help='skip: leave out and count clips of --data that cannot be used, up to 0.1 %% of them')

    # which labels of it, and how they compare
    parser.add_argument(
        '--tasks', type=_names, default=[], metavar='TASK,TASK',
        help='the only tasks to evaluate with --data, such as semantic,depth')
    parser.add_argument(
        '--class-map', type=path_argument, metavar='YAML',
        help="with --data: lines MODEL CLASS: DATA CLASS (or a list, or []) where the package's "
        'own table of classes shall not decide')

    # several models and data sets
    parser.add_argument(
        '--suite', type=path_argument, metavar='YAML',
        help='evaluate several models on several data sets as one table; --root is the folder '
        'that theirs lie in')

    # a recording
    parser.add_argument(
        '--bag', type=path_argument, metavar='BAG',
        help="evaluate the node's predictions in a recording, against the ground truth in it or, "
        'with --data, the labels of images that are named by their stamps in nanoseconds')
    parser.add_argument(
        '--rerun', action='store_true',
        help='run the model on the images of the recording, in place of the recorded predictions')
    parser.add_argument(
        '--max-gap', type=float, metavar='SECONDS',
        help='with --rerun: longest time between two frames that are compared (default: what the '
        'node reported in the recording)')

    # its topics and messages
    parser.add_argument('--namespace', default='', help='of the camera in the recording')
    add_camera_options(parser)
    parser.add_argument(
        '--slop', type=float, default=0.0, metavar='MS',
        help='largest difference between the stamps of an image and its labels, milliseconds (0)')

    # what cannot be read
    parser.add_argument(
        '--allow-truncated', action='store_true',
        help='evaluate the intact part of a recording that is cut short or damaged')
    parser.add_argument(
        '--strict', action='store_true',
        help='with --bag: a message that cannot be decoded is an error (default: left out and '
        'counted)')
    add_range_option(parser)
    add_fit_options(parser)


def _names(text: str) -> list[str]:
    """Return the names in a list with commas between."""
    return [name.strip() for name in text.split(',') if name.strip()]


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl evaluate``."""
    if arguments.bag is None and arguments.camera_height is not None \
            and not 0.3 <= arguments.camera_height <= 3.0:
        raise ConfigurationError(
            f'--camera-height is {arguments.camera_height} m; it must be 0.3 to 3.0')

    # What does not go together is refused before anything is loaded.
    if (arguments.fit or arguments.roi) and (
            arguments.suite is not None or (arguments.data is None and not arguments.rerun)):
        raise ConfigurationError(
            '--fit and --roi say how the model sees images of another shape; they go with --data '
            'or --bag --rerun. The entries of a suite have fit of their own')

    check_precision(arguments)
    if arguments.objects and (arguments.suite or arguments.bag):
        raise ConfigurationError(
            '--objects evaluates streets, or drives of --data; leave --suite and --bag')

    if arguments.suite is None and arguments.data is None and (
            arguments.tasks or arguments.class_map):
        raise ConfigurationError(
            '--tasks and --class-map say how a data set is evaluated; they need --data')
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    check_unread(arguments, vars(parser.parse_args([])))

    if arguments.suite is not None:
        return on_suite(arguments)
    if arguments.bag is not None:
        return _on_bag(arguments)
    arguments.model = arguments.model or 'street'
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
    if arguments.workers is not None and arguments.workers < 0:
        raise ConfigurationError(f'--workers is {arguments.workers}; it must not be negative')
    check_seeds(seeds, 'test')
    if arguments.calibrate:
        return _calibrate(arguments, seeds)

    manifest = engines.manifest_of(arguments.model, arguments.engine)
    plan = SamplingPlan(
        arguments.frames, arguments.spacing, width=manifest.width, height=manifest.height,
        camera_height=arguments.camera_height, look=arguments.look,
        depth_scale=arguments.depth_scale or 'network')

    if arguments.objects:
        found = object_evaluation.evaluate_objects(
            load_engine(arguments, arguments.precision, LOWEST_SCORE), seeds, plan, _streets)
        print(object_evaluation.as_markdown(found))
        if arguments.output is not None:
            write_json(found, arguments.output / 'objects.json')
        return 0

    metrics, evaluator = _evaluated(arguments, manifest, seeds, plan)
    metrics = {'model': manifest.name, 'sha256': manifest.sha256, **metrics}
    publish(Report(
        street_evaluation.title_of(metrics), metrics, notes=[ran_text(metrics['engine'])],
        pictures=evaluator.pictures(), targets=True), arguments.output)
    if arguments.record:
        street_evaluation.record_metrics(arguments.model, metrics)
    return 0


def _evaluated(
    arguments: argparse.Namespace, manifest: Manifest, seeds: Sequence[int], plan: SamplingPlan,
) -> tuple[dict[str, Any], Evaluator]:
    """Return the metrics of a model on streets, and its evaluator."""
    # Answers depend on the number of threads in their last digits, so it is the same everywhere.
    threads = arguments.threads or 1
    workers = arguments.workers
    if workers is None:
        workers = max(1, cpu_count() // threads)
        if engines.on_gpu(arguments.device):
            workers = min(workers, MOST_ON_GPU)

    make_engine = partial(
        engines.load_engine, arguments.model, arguments.engine, arguments.device,
        arguments.precision, threads, LOWEST_SCORE)
    if workers == 0:
        return street_evaluation.evaluate(make_engine(), seeds, plan, _streets)
    return street_evaluation.evaluate_in_processes(
        make_engine, manifest, seeds, plan, workers, _streets)


def _streets(seeds: Sequence[int]) -> Iterable[int]:
    """Yield street seeds beside a progress bar."""
    return progress(seeds, 'streets')


def _calibrate(arguments: argparse.Namespace, seeds: Sequence[int]) -> int:
    """Fit the confidences of a model and print how good they are; only torch can change them."""
    if arguments.engine == 'auto':
        arguments.engine = 'torch'
    manifest, results = calibrate(
        arguments.model, load_engine(arguments), range(*CALIBRATION_SEEDS), seeds,
        _streets)
    print(f'{manifest.name}: temperature {manifest.semantic_temperature:g}\n\n'
          '| confidence of | right | AUROC | expected calibration error |\n|---|---|---|---|')
    for name, one in results.items():
        print(f'| {name} | {one["right"]:.3f} | {one["auroc"]:.3f} | {one["ece"]:.3f} |')
    return 0


def _on_data_set(arguments: argparse.Namespace) -> int:
    """Evaluate on a recorded data set."""
    if arguments.objects:
        return objects_of_data(arguments)

    class_map = read_class_map(arguments.class_map) if arguments.class_map else {}
    engine = load_engine(arguments, arguments.precision, LOWEST_SCORE)
    data, words = dataset_evaluation.open_data(
        arguments.data, arguments.part, arguments.root, engine.manifest.network.frames,
        arguments.tasks)
    if arguments.image_range is not None:
        data.image_range = ImageRange(arguments.image_range)
    metrics, evaluator = dataset_evaluation.evaluate(
        engine, data, lambda items: progress(items, 'clips'), arguments.on_bad_sample == 'skip',
        arguments.camera_height or 0.0, class_map,
        fit_of(arguments, dataset_evaluation.described_fit(arguments.data, arguments.part)),
        arguments.depth_scale or 'network')

    metrics = {
        'model': engine.manifest.name, 'sha256': engine.manifest.sha256, 'data': words,
        'engine': engine.setup.what, **metrics}
    publish(Report(
        dataset_evaluation.title_of(metrics), metrics,
        notes=[*dataset_evaluation.notes_of(metrics), ran_text(metrics['engine'])],
        pictures=evaluator.pictures()), arguments.output)
    return 0


def _on_bag(arguments: argparse.Namespace) -> int:
    """Evaluate the predictions in a recording, or those of the model on its images."""
    if not 0 <= arguments.slop < math.inf:
        raise ConfigurationError(f'--slop is {arguments.slop} ms; it must not be negative')
    slop_ns = round(arguments.slop * 1e6)

    with Bag(
            arguments.bag, arguments.namespace, arguments.allow_truncated, slop_ns,
            arguments.image_range, arguments.strict, arguments.image_topic,
            arguments.camera_info_topic) as bag:
        bag.require(['image'])
        if arguments.model is None:
            # the file of any other model may be anywhere, so the report names that model
            ran = bag_evaluation.recorded_model(bag).get('name')
            arguments.model = ran if ran in shipped_models() else 'street'
        manifest = read_manifest(arguments.model)
        predicted = [task.name for task in manifest.tasks if task.name in PREDICTIONS]
        if not bag.roles & {*predicted}:
            bag.require(predicted)

        labels, words = None, ''
        if arguments.data is not None:
            data, words = dataset_evaluation.open_data(
                arguments.data, arguments.part, arguments.root, 1, undivided=True)
            labels = bag_evaluation.labels_for(bag, manifest, data, slop_ns)
            words = f', labels of {words}'

        records: Iterable[FrameRecord] = bag.records(manifest.tasks)
        if arguments.rerun:
            if arguments.image_range is None:
                bag.image_range = ImageRange(bag_evaluation.recorded_range(bag))
            scores = bag_evaluation.recorded_scores(bag)
            records = bag_evaluation.rerun(
                bag, load_engine(arguments, arguments.precision, scores.boxes),
                settings_of_rerun(arguments, bag), scores.motion)
        score = bag_evaluation.score_bag(
            bag, progress(records, 'frames', len(bag.stamps)), manifest, labels)
        metrics = bag_evaluation.bag_metrics(bag, score, manifest, labels)

    how = 'model run again' if arguments.rerun else 'as recorded'
    ran = metrics['recorded_model']
    if ran and ran['sha256'] != manifest.sha256 and not arguments.rerun:
        how = f'predictions of {ran["name"]} as recorded'
    publish(Report(
        f'{arguments.bag}: {manifest.name}, {how}{words}', metrics, recording_facts(metrics),
        bag_evaluation.notes_of(metrics, arguments.rerun), score.evaluator.pictures()),
        arguments.output)
    bag_evaluation.check_matched(metrics, arguments.bag)
    return 0
