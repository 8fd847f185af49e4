# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl demo``: camera, node and recorder in one run, evaluated."""

import argparse
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mtl_perception.commands._options import add_engine_options, load_engine, path_argument
from mtl_perception.errors import DataError
from mtl_perception.evaluation.demo import (
    FIRST_TEST_SEED,
    demo_metrics,
    evaluate_recording,
    make_plan,
    notes_of,
    score_objects,
)
from mtl_perception.evaluation.live_recording import record_live
from mtl_perception.evaluation.report import Report, recording_facts
from mtl_perception.evaluation.report_files import write_report
from mtl_perception.evaluation.rows import interval_text, value_text
from mtl_perception.inference.step_graph import read_manifest
from mtl_perception.manifest import DEFAULT_MODEL
from mtl_perception.media.addresses import without_password
from mtl_perception.middleware import check_environment, check_libraries
from mtl_perception.reason_codes import explain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl demo``."""
    parser.add_argument('--source', default='street',
                        help='street, a video, a folder of images, /dev/videoN, or an address')
    parser.add_argument(
        '--output', type=path_argument, default=Path('demo'),
        help='folder of the report')
    parser.add_argument(
        '--model', default='',
        help='name of a shipped model, or a .safetensors or .onnx file (default: street for the '
        f'street, {DEFAULT_MODEL} for other sources)')
    add_engine_options(parser)

    parser.add_argument('--seconds', type=float, default=25.0, help='length of the recording')
    parser.add_argument('--rate', type=float, default=10.0, help='frames per second')
    parser.add_argument('--width', type=int, default=0, help='of the images; 0 = as they are')
    parser.add_argument('--height', type=int, default=0, help='of the images; 0 = as they are')
    parser.add_argument('--seed', type=int, default=FIRST_TEST_SEED, help='of the first street')
    parser.add_argument('--seeds', type=int, default=5, help='number of streets')
    parser.add_argument('--focal-length', type=float, default=0.0,
                        help='of a real camera at the width of its images, pixels; without it '
                             'its depth has the scale of the training camera')
    parser.add_argument('--no-progress', action='store_true', help='show no progress bar')


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; the exit code is 0 if everything worked and every frame is accounted for."""
    check_libraries()
    check_environment()
    started = time.monotonic()
    plan = make_plan(arguments)
    arguments.model = str(plan.node['model'])
    manifest = read_manifest(arguments.model)
    console = Console(stderr=True)

    # camera, node and recorder run as processes of a real ROS graph
    with Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), console=console,
                  disable=arguments.no_progress) as bar:
        task = bar.add_task('', total=int(plan.source['frames']))

        def progress(text: str, images: int, predictions: int) -> None:
            bar.update(task, description=f'{text} ({predictions} predictions)', completed=images)

        bag = record_live(plan, arguments.output, progress)

    console.print('evaluating the recording')
    result = evaluate_recording(bag, manifest, arguments.output, float(plan.source['rate']))
    if plan.truth:
        score_objects(load_engine(arguments), result)
    metrics = demo_metrics(result, manifest, arguments)
    metrics['seconds_in_all'] = round(time.monotonic() - started, 1)

    report = Report(
        f'{manifest.name} on {without_password(arguments.source)}', metrics,
        recording_facts(metrics),
        notes_of(metrics, arguments), [
            ('Frames of the recording', result.mosaic), *result.score.evaluator.pictures()],
        links=['![frames of the recording](mosaic.png)'])
    write_report(arguments.output, report)
    _print(report)

    console.print(f'{arguments.output}: report.html, mosaic.png, demo.mp4 and the recording bag',
                  highlight=False, soft_wrap=True)
    for code in sorted(result.balance.dropped):
        if (found := explain(code)) is not None:
            console.print(found, highlight=False, markup=False, soft_wrap=True)
    if result.balance.problems:
        raise DataError('the frames do not add up: ' + '; '.join(result.balance.problems))
    return 0


def _print(report: Report) -> None:
    shown = Table(show_header=False)
    for fact in report.facts:
        shown.add_row(*fact)
    for row in report.rows:
        if not row.name.startswith(('IoU ', 'box AP50 ')):
            beside = '' if row.interval is None else f'{interval_text(row.interval)}; '
            shown.add_row(row.name, value_text(row.value),
                          f'{beside}image-blind baseline {value_text(row.baseline)}')
    Console().print(shown)
