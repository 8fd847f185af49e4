# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl predict``: every frame of a video or a folder through a model, into a video or files."""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from mtl_perception.datasets.files import images_in, read_rgb
from mtl_perception.errors import ConfigurationError, DataError, StorageError
from mtl_perception.evaluation.bag import Moment
from mtl_perception.evaluation.film import Film
from mtl_perception.evaluation.moments import moment_of
from mtl_perception.evaluation.pictures import Painter
from mtl_perception.frames import Frame, Perception
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.stream import CameraStream

VIDEO = '.mp4'
MILLIMETRES = 1000.0
LARGEST_MM = 65534
"""Depth beyond this is stored as 65535; unknown depth as 0."""


@dataclass(frozen=True)
class Source:
    """
    Images to go through.

    :param frames: yields name and (H, W, 3) uint8 RGB, in order.
    :param count: how many there are, 0 if that is not known.
    :param rate: images per second.
    """

    frames: Iterable[tuple[str, NDArray[np.uint8]]]
    count: int
    rate: float


def open_source(path: Path, rate: float = 0.0) -> Source:
    """
    Return the images of a folder or a video.

    :param path: of either.
    :param rate: images per second; 0 takes that of the video, or 10 for a folder.
    :raises DataError: if there is no such file, or no image in it.
    """
    if path.is_dir():
        images = images_in(path)
        return Source(((image.stem, read_rgb(image)) for image in images), len(images),
                      rate or 10.0)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            count, own = stream.frames, float(stream.average_rate or 0)
    except (OSError, IndexError, av.error.FFmpegError) as error:
        raise DataError(
            f'{path}: is neither a folder nor a video that can be read ({error}); give a folder '
            'of JPEG or PNG images, or a video file') from error
    return Source(_decoded(path), count, rate or own or 10.0)


def _decoded(path: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield every frame of a video."""
    try:
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                yield f'{number:06d}', np.asarray(frame.to_ndarray(format='rgb24'), np.uint8)
    except (OSError, av.error.FFmpegError) as error:
        raise DataError(f'{path}: cannot be decoded to its end ({error})') from error


def predict(
        engine: Engine, source: Source, take: Callable[[str, Moment, Perception], None],
        focal_px: float | None = None, show: Callable[[Any], Any] = iter) -> int:
    """
    Send every frame through a model, in order; the same frames give the same answers.

    :param engine: the deployed network.
    :param source: the images.
    :param take: gets the name of each frame, what is drawn of it, and the answer.
    :param focal_px: of the camera at the width of its images, pixels; None = not known.
    :param show: wraps the frames, for a progress bar.
    :return: how many frames there were.
    :raises DataError: if there is none, or one cannot be read.
    """
    stream = CameraStream(engine, motion_head=getattr(engine, 'motion_head', None))
    count = 0
    for count, (name, image) in enumerate(show(source.frames), 1):
        stamp_ns = round(count * 1e9 / source.rate)
        found = stream.process(Frame('predict', stamp_ns, image), focal_px=focal_px)
        take(name, moment_of(stamp_ns, image, found, engine.manifest.tasks), found)
    if not count:
        raise DataError('there is not a single frame')
    return count


class FolderWriter:
    """
    Write answers as files.

    ``semantic/NAME.png`` and ``motion/NAME.png`` have 8 bits (ids; 255 = unknown),
    ``depth/NAME.png`` 16 bits of millimetres (0 unknown, 65535 farther or sky),
    ``instance/NAME.png`` 16 bits of ids; ``detections.jsonl`` has a line per frame.

    :param folder: made if missing.
    :param classes: names of the classes of boxes.
    """

    def __init__(self, folder: Path, classes: tuple[str, ...] = ()) -> None:
        self.folder, self.classes = folder, classes
        self._lines: list[str] = []

    def take(self, name: str, moment: Moment, found: Perception) -> None:
        """
        Write one answer.

        :raises StorageError: if a file cannot be written.
        """
        for task in ('semantic', 'motion', 'instance'):
            if (values := getattr(found, task)) is not None:
                self._write(task, name, values)
        if found.depth is not None:
            millimetres = np.nan_to_num(found.depth * MILLIMETRES, nan=0.0, posinf=2e9)
            stored = np.where(millimetres > LARGEST_MM, 65535, np.rint(millimetres))
            self._write('depth', name, stored.astype(np.uint16))
        if found.detections is not None:
            self._lines.append(json.dumps({'name': name, 'boxes': [
                {'class': self.classes[kind], 'score': round(score, 4),
                 'corners': [round(value, 2) for value in corners]}
                for corners, score, kind in zip(
                    found.detections.corners.tolist(), found.detections.scores.tolist(),
                    found.detections.classes.tolist())]}))

    def finish(self) -> None:
        """
        Write the boxes.

        :raises StorageError: if that is impossible.
        """
        if self._lines:
            try:
                text = '\n'.join(self._lines) + '\n'
                (self.folder / 'detections.jsonl').write_text(text, encoding='utf-8')
            except OSError as error:
                raise StorageError(f'{self.folder}: cannot be written ({error})') from error

    def _write(self, task: str, name: str, values: NDArray[Any]) -> None:
        path = self.folder / task / f'{name}.png'
        done, content = cv2.imencode('.png', values)
        assert done
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.tobytes())
        except OSError as error:
            raise StorageError(f'{path}: cannot be written ({error})') from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl predict``."""
    parser.add_argument('source', type=Path, help='a video, or a folder of images')
    parser.add_argument(
        '--model', default='street', help='shipped name or .safetensors file (street)')
    parser.add_argument(
        '--output', type=Path, default=Path('predicted.mp4'),
        help='NAME.mp4 for a video with all answers side by side, else a folder of PNG files '
        '(default: predicted.mp4)')
    parser.add_argument(
        '--rate', type=float, default=0.0,
        help='images per second (default: that of the video, 10 for a folder)')
    parser.add_argument(
        '--focal-length', type=float, default=0.0, metavar='PIXELS',
        help='of the camera at the width of its images; depth in metres needs it')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda (default: auto)')
    parser.add_argument('--precision', default='fp32', help='fp32, bf16, fp16 (default: fp32)')
    parser.add_argument('--threads', type=int, default=0, help='threads of torch, 0 = automatic')


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl predict``."""
    from mtl_perception.inference.torch_engine import TorchEngine
    if arguments.rate < 0 or arguments.focal_length < 0:
        raise ConfigurationError(
            f'--rate is {arguments.rate:g} and --focal-length {arguments.focal_length:g}; neither '
            'may be negative')
    source = open_source(arguments.source, arguments.rate)
    engine = TorchEngine.load(
        arguments.model, arguments.device, precision=arguments.precision,
        threads=arguments.threads)
    focal = arguments.focal_length or None

    def show(frames: Iterable[Any]) -> Iterable[Any]:
        return track(frames, 'frames', total=source.count or None,
                     console=Console(stderr=True), transient=True)

    if arguments.output.suffix == VIDEO:
        painter = Painter(engine.manifest.tasks)
        try:
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f'{arguments.output}: cannot be written ({error})') from error
        with Film(arguments.output, source.rate) as film:
            count = predict(
                engine, source, lambda name, moment, _: film.add(painter.draw(moment, [name])),
                focal, show)
    else:
        task = engine.manifest.task('detection')
        writer = FolderWriter(arguments.output, () if task is None else task.classes)
        count = predict(engine, source, writer.take, focal, show)
        writer.finish()
    print(f'{count} frames: {arguments.output}')
    return 0
