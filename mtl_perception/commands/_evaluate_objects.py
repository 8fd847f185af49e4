# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --objects --data``: how ids hold on recorded drives."""

import argparse

from mtl_perception.commands._options import fit_of, load_engine, progress
from mtl_perception.evaluation import dataset_evaluation, object_evaluation
from mtl_perception.evaluation.report_files import write_json
from mtl_perception.evaluation.task_evaluators import LOWEST_SCORE
from mtl_perception.image_range import ImageRange
from mtl_perception.inference.stream import StreamSettings


def objects_of_data(arguments: argparse.Namespace) -> int:
    """Evaluate how ids hold on the drives of a recorded data set."""
    engine = load_engine(arguments, arguments.precision, LOWEST_SCORE)
    data, _ = dataset_evaluation.open_data(arguments.data, arguments.part, arguments.root, 1)
    if arguments.image_range is not None:
        data.image_range = ImageRange(arguments.image_range)

    settings = StreamSettings(
        camera_height=arguments.camera_height or 0.0,
        fit=fit_of(arguments, dataset_evaluation.described_fit(arguments.data, arguments.part)))
    found = object_evaluation.evaluate_recorded_objects(
        engine, data, settings, lambda items: progress(items, 'frames'))
    print(object_evaluation.recorded_as_markdown(found))
    if arguments.output is not None:
        write_json(found, arguments.output / 'objects.json')
    return 0
