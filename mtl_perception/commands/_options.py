# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Options and output that several verbs share."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.report import Report, as_markdown
from mtl_perception.evaluation.report_files import write_report
from mtl_perception.image_range import Limits, limits_of
from mtl_perception.inference import engines
from mtl_perception.inference.depth_anchor import SCALES
from mtl_perception.inference.engine import MINIMUM_SCORE, PRECISIONS, Engine
from mtl_perception.inference.fit import CHOICES, SQUEEZED, Fit, Roi, roi_of
from mtl_perception.media.addresses import local_path

Item = TypeVar('Item')


def path_argument(text: str) -> Path:
    """Return a path of the command line; shells leave the ``~`` of ``--output=~/x`` as it is."""
    try:
        return local_path(text)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_model_argument(
        parser: argparse.ArgumentParser, default: str | None = 'street',
        said: str = 'street') -> None:
    """
    Declare the model as an argument that may be left out.

    :param default: the model then, None leaves that to the command.
    :param said: the default in the help.
    """
    parser.add_argument(
        'model', nargs='?', default=default,
        help=f'name of a shipped model, or a .safetensors or .onnx file (default: {said})')


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Declare what runs the network, and where."""
    parser.add_argument(
        '--engine', default='auto', choices=engines.ENGINES,
        help='library that runs the network; auto: torch on a GPU; on a CPU the fastest '
        'that is installed and has the .onnx file of the model, else torch (default: auto)')
    parser.add_argument(
        '--device', default='auto', help='auto, cpu, cuda or cuda:N (default: auto)')
    parser.add_argument(
        '--threads', type=int, default=0, help='CPU threads, 0 = automatic (default: 0)')


def add_precision_option(parser: argparse.ArgumentParser) -> None:
    """Declare the number format of the network."""
    parser.add_argument(
        '--precision', default='fp32', choices=PRECISIONS,
        help='number format of the network; auto goes below fp32 only where mtl calibrate has '
        'measured little loss (default: fp32)')


def add_data_options(parser: argparse.ArgumentParser, purpose: str) -> None:
    """
    Declare the data set that takes the place of streets.

    :param purpose: the first words of the help of ``--data``.
    """
    parser.add_argument(
        '--data', type=path_argument, metavar='YAML|FOLDER',
        help=f'{purpose}: a recipe, the YAML of mtl data check, or a folder that mtl train takes')
    parser.add_argument(
        '--part', default='validation', help='which of the data sets in that file (validation)')
    parser.add_argument(
        '--root', type=path_argument, help='folder of that data set, in place of its own')


def add_range_option(parser: argparse.ArgumentParser) -> None:
    """Declare what is black and white in images of more than 8 bits."""
    parser.add_argument(
        '--image-range', type=_range, metavar='LOW,HIGH',
        help='numbers that become black and white in images of more than 8 bits, such as '
        '7000,8600; auto finds them (default: auto, with --rerun what the node reported)')


def _range(text: str) -> Limits | None:
    """Return the limits of a range."""
    try:
        return limits_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_camera_options(parser: argparse.ArgumentParser) -> None:
    """Declare which topics of a recording are the camera, and what happens to its lens."""
    parser.add_argument(
        '--image-topic', default='', metavar='TOPIC',
        help='of the camera in the recording (default: image_raw, or the only image topic)')
    parser.add_argument(
        '--camera-info-topic', default='', metavar='TOPIC',
        help='of its calibration (default: camera_info beside the image, or the only one)')
    parser.add_argument(
        '--rectify', choices=('auto', 'off'),
        help='auto: images of a lens with strong distortion become those of a pinhole before the '
        'network, and the results are put back; off: never (default: auto, or what the node '
        'reported in the recording)')


def add_depth_scale_option(parser: argparse.ArgumentParser) -> None:
    """Declare what the metres stand on."""
    parser.add_argument(
        '--depth-scale', choices=SCALES,
        help="what the metres stand on: the network's own; the height of the camera above the "
        'road that is seen, told by --camera-height; or the odometry (default: network)')


def add_fit_options(parser: argparse.ArgumentParser) -> None:
    """Declare what the network sees of images of another shape than its own."""
    parser.add_argument(
        '--fit', choices=CHOICES,
        help="how images of another shape are brought to the network's: squeeze resizes them; "
        'crop shows the central part of the right proportions, the rest is unknown; tiles shows '
        'as many such parts as cover the image, and takes as many times as long; auto takes tiles '
        'where squeezing would change the proportions much (default: squeeze, or what a recording '
        'or the description of a data set says)')
    parser.add_argument(
        '--roi', type=_roi, metavar='X,Y,WIDTH,HEIGHT',
        help='the only part of the images that counts, in their pixels (default: all)')


def _roi(text: str) -> Roi | None:
    """Return a part of an image."""
    try:
        return roi_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def fit_of(arguments: argparse.Namespace, otherwise: Fit = SQUEEZED) -> Fit:
    """Return the fit of a command line; what it does not say is as otherwise."""
    return Fit(arguments.fit or otherwise.how, arguments.roi or otherwise.roi)


def load_engine(
        arguments: argparse.Namespace, precision: str = 'fp32',
        minimum_score: float = MINIMUM_SCORE) -> Engine:
    """
    Load the model that a command line names.

    :param arguments: with ``model``, ``engine``, ``device`` and ``threads``.
    :param precision: ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``.
    :param minimum_score: lowest score of a box, 0 to 1.
    """
    return engines.load_engine(
        arguments.model, arguments.engine, arguments.device, precision, arguments.threads,
        minimum_score)


def progress(items: Iterable[Item], name: str, total: int | None = None) -> Iterable[Item]:
    """Yield the items beside a progress bar on the standard error."""
    return track(items, name, total=total, console=Console(stderr=True), transient=True)


def publish(report: Report, folder: Path | None) -> None:
    """Print a report and, if there is a folder for it, write its files."""
    print(f'{report.title}\n\n{as_markdown(report)}')
    if folder is not None:
        write_report(folder, report)
