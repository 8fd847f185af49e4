# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate-motion``: measure ego-motion and moving objects on streets."""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mtl_perception.commands._options import (
    add_engine_options,
    add_model_argument,
    load_engine,
    path_argument,
    progress,
)
from mtl_perception.datasets.seeds import check_seeds, parse_seeds
from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.motion_evaluation import (
    MotionHeadEvaluator,
    as_markdown,
    clips_of,
    number_text,
)
from mtl_perception.evaluation.street_classes import check_street_classes
from mtl_perception.evaluation.street_evaluation import SamplingPlan
from mtl_perception.files import write_atomically
from mtl_perception.inference.engine import MotionScorer
from mtl_perception.inference.engines import INSTALLED_BY
from mtl_perception.manifest import Manifest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl evaluate-motion``."""
    add_model_argument(parser)
    parser.add_argument(
        '--head', type=path_argument,
        help='file of the motion head (default: the one beside the model)')
    parser.add_argument(
        '--seeds', default='20000:20040', help='street seeds FIRST:END, from 20000 on')
    parser.add_argument('--frames', type=int, default=10, help='evaluated frames per street')
    add_engine_options(parser)
    parser.add_argument('--output', type=path_argument, help='file for the metrics, NAME.json')
    parser.add_argument(
        '--conditions', action='store_true',
        help='evaluate turns, shadow, night, a wrong focal length and lost frames instead')


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl evaluate-motion``."""
    seeds = parse_seeds(arguments.seeds)
    check_seeds(seeds, 'test')
    if arguments.frames < 1:
        raise ConfigurationError(f'--frames is {arguments.frames}; it must be at least 1')
    engine = load_engine(arguments)
    manifest = engine.manifest
    check_street_classes(manifest)
    head = _read_head(arguments.head, manifest) if arguments.head else engine.motion_head
    if head is None:
        raise ConfigurationError(
            f'model {manifest.name!r} has no motion head of its own; name one with --head')
    plan = SamplingPlan(arguments.frames, width=manifest.width, height=manifest.height)

    if arguments.conditions:
        from mtl_perception.evaluation import motion_stress
        found: dict[str, Any] = motion_stress.conditions(
            engine, head, seeds, plan, show=_track)
        print(motion_stress.as_markdown(found))

        failures = motion_stress.provoked(engine, seeds, plan, _track)
        print(f'\nprovoked: {failures["failures"]} of {failures["frames"]} ego-motions fail, ROC '
              f'AUC of the quality {number_text(failures["failures_flagged_auc"])}, believed '
              f'{number_text(failures["believed"])}, good of these '
              f'{number_text(failures["good_of_believed"])}')
        _write({**found, 'provoked': failures}, arguments.output)
        return 0

    evaluator = MotionHeadEvaluator(head, engine)
    for seed in _track(seeds):
        for clip in clips_of(engine, seed, plan):
            evaluator.update(clip)
    metrics = evaluator.compute()
    print(as_markdown(metrics))
    _write(metrics, arguments.output)
    return 0


def _read_head(path: Path, manifest: Manifest) -> MotionScorer:
    """
    Return the motion head of a file, which takes torch.

    :raises ConfigurationError: if torch is not installed.
    """
    try:
        from mtl_perception.inference.motion_head_file import read_motion_head
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f'--head needs the Python module {error.name!r}, which is not installed; pip install '
            f'{INSTALLED_BY["torch"]} brings it') from error
    return read_motion_head(path, manifest)


def _track(seeds: Sequence[int]) -> Iterable[int]:
    return progress(seeds, 'streets')


def _write(metrics: dict[str, Any], path: Path | None) -> None:
    """Write the metrics as JSON, if a file is wanted."""
    if path is not None:
        write_atomically((json.dumps(metrics, indent=2) + '\n').encode(), path)
