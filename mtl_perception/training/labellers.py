# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Models that label images for a smaller one: those of this package, and graphs of others."""

import colorsys
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import CheckpointError, ConfigurationError
from mtl_perception.inference.model import load_model
from mtl_perception.inference.onnx_engine import runtime
from mtl_perception.name_checks import check_names
from mtl_perception.preprocessing import resize, resize_nearest
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.settings import read_yaml
from mtl_perception.tasks import STREET_SEMANTIC, Task

IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""RGB mean and standard deviation of the pixels, 0 to 255."""
TABLE = ('classes', 'mean', 'std', 'size', 'semantic', 'depth', 'sky', 'focal_px')
"""Keys of a class table."""


@dataclass(frozen=True, eq=False)
class Answer:
    """
    What a teacher says about an image.

    :param semantic: (H, W) uint8 ids of the teacher, 255 = unknown.
    :param confidence: (H, W) float32 probability of the class.
    :param depth: (H, W) float32 metres; NaN or Inf = no finite depth; None without depth.
    """

    semantic: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    depth: NDArray[np.float32] | None


class Labeller(Protocol):
    """
    A teacher that is loaded and ready.

    :ivar name: of the model.
    :ivar digest: of its file, hexadecimal.
    :ivar semantic: what its class ids mean.
    :ivar depth: whether it has depth.
    :ivar focal: focal length for which its metres hold, as a share of the image's width.
    """

    name: str
    digest: str
    semantic: Task
    depth: bool
    focal: float

    def answer(self, image: NDArray[np.uint8]) -> Answer:
        """Return what it says about an image, (H, W, 3) uint8 RGB, at the image's size."""
        ...


class ModelLabeller:
    """
    A model of this package, run by any of its engines.

    :param model: shipped name, or path of a ``.safetensors`` or ``.onnx`` file.
    :param threads: CPU threads.
    :raises CheckpointError: if it is missing, damaged or has no semantics.
    """

    def __init__(self, model: str | Path, threads: int = 0) -> None:
        self._model = load_model(model, threads=threads)
        manifest = self._model.manifest
        task = manifest.task('semantic')
        if task is None:
            raise CheckpointError(
                f'{model}: has no semantics, only {[one.name for one in manifest.tasks]}; a '
                'teacher needs them', ReasonCode.MANIFEST_INVALID)
        self.semantic = task
        self.depth = manifest.task('depth') is not None
        self.name = manifest.name
        self.digest = manifest.sha256
        self.focal = manifest.focal_px / manifest.width
        self._tasks = ['semantic', 'semantic_confidence', *['depth'] * self.depth]

    def answer(self, image: NDArray[np.uint8]) -> Answer:
        """Return what the model says about an image."""
        found = self._model(image, tasks=self._tasks)
        assert found.semantic is not None
        assert found.semantic_confidence is not None
        return Answer(found.semantic, found.semantic_confidence, found.depth)


class GraphLabeller:
    """
    An ONNX graph of another project with a class table, ``NAME.yaml`` beside ``NAME.onnx``.

    The graph takes (1, 3, H, W) float32, normalised, and gives (1, K, h, w) scores of the classes
    or (1, h, w) ids, and optionally (1, 1, h, w) or (1, h, w) metres. The table holds

    - ``classes``: names, the place is the id
    - ``mean``, ``std``: RGB, 0 to 255; ImageNet's if they are left out
    - ``size``: [rows, columns], for a graph that leaves them open
    - ``semantic``, ``depth``: names of the outputs; one output alone is the semantics
    - ``sky``: name of the class without a finite depth
    - ``focal_px``: focal length at the graph's width for which its metres hold

    :param path: of the graph.
    :param threads: CPU threads.
    :raises CheckpointError: if the file is no such graph.
    :raises ConfigurationError: if the table does not fit it.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        ort = runtime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            content = path.read_bytes()
            self._session = ort.InferenceSession(
                content, options, providers=['CPUExecutionProvider'])
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise CheckpointError(
                f'{path}: ONNX Runtime cannot read it ({str(error).splitlines()[0]}); give an '
                'ONNX graph', ReasonCode.MODEL_FOREIGN) from error

        self.name = path.stem
        self.digest = hashlib.sha256(content).hexdigest()

        self._table = path.with_suffix('.yaml')
        table = read_yaml(self._table)
        check_names(table, TABLE, f'{self._table}: key')
        self.semantic = self._task(table)

        self._input, self._size = self._input_of(table)
        self._outputs = self._outputs_of(table)
        self.depth = len(self._outputs) > 1

        self._mean, self._deviation = (
            np.array(self._numbers(table, key, 3, usual), np.float32)
            for key, usual in zip(('mean', 'std'), IMAGENET))

        focal, = self._numbers({'focal_px': [table.get('focal_px', 0.0)]}, 'focal_px', 1, ())
        if self.depth and focal <= 0:
            raise ConfigurationError(
                f'{self._table}: depth has no focal_px; give the focal length, at '
                f'{self._size[1]} columns, for which its metres hold')
        self.focal = focal / self._size[1]

        # what it answers shows now whether the table fits
        self.answer(np.full((*self._size, 3), 128, np.uint8))

    def answer(self, image: NDArray[np.uint8]) -> Answer:
        """Return what the graph says about an image."""
        rows, columns = image.shape[:2]
        pixels = (resize(image, *self._size).astype(np.float32) - self._mean) / self._deviation
        found = self._session.run(
            self._outputs, {self._input: np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]})

        scores = np.asarray(found[0])[0]
        count = len(self.semantic.classes)

        if scores.ndim == 3 and len(scores) == count:
            ids, confidence = _most_likely(scores)
        elif scores.ndim == 2 and np.issubdtype(scores.dtype, np.integer):
            known = (scores >= 0) & (scores < count)
            ids = np.where(known, scores, 255).astype(np.uint8)
            confidence = known.astype(np.float32)
        else:
            raise ConfigurationError(
                f'{self._table}: output {self._outputs[0]} is {found[0].dtype} of shape '
                f'{np.shape(found[0])}, the table has {count} classes; wanted (1, {count}, rows, '
                'columns) scores or (1, rows, columns) whole numbers')

        depth = None
        if self.depth:
            metres = np.squeeze(np.asarray(found[1], np.float32))
            if metres.ndim != 2:
                raise ConfigurationError(
                    f'{self._table}: output {self._outputs[1]} has the shape '
                    f'{np.shape(found[1])}, wanted (1, 1, rows, columns) metres')
            depth = resize_nearest(metres, rows, columns)
        return Answer(
            resize_nearest(ids, rows, columns), resize_nearest(confidence, rows, columns), depth)

    def _task(self, table: dict[str, Any]) -> Task:
        """Return the classes of a table."""
        names = table.get('classes')
        if not isinstance(names, list) or not 2 <= len(names) <= 255 or (
                len(set(map(str, names))) != len(names)):
            raise ConfigurationError(
                f'{self._table}: classes is {names!r}; wanted a list of 2 to 255 different names')
        classes = tuple(map(str, names))
        known = dict(zip(STREET_SEMANTIC.classes, STREET_SEMANTIC.palette))
        sky = table.get('sky', 'sky' if 'sky' in classes else None)
        check_names([] if sky is None else [sky], classes, f'{self._table}: sky')
        return Task(
            'semantic', 'classes', classes,
            tuple(known.get(name, _hue(place)) for place, name in enumerate(classes)),
            sky=-1 if sky is None else classes.index(sky))

    def _input_of(self, table: dict[str, Any]) -> tuple[str, tuple[int, int]]:
        """Return the name of the input and the rows and columns that it takes."""
        inputs = self._session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[1] not in (3, 'channels'):
            raise CheckpointError(
                f'{self._table.with_suffix(".onnx")}: its inputs are '
                f'{[(one.name, one.shape) for one in inputs]}; wanted one of (1, 3, rows, '
                'columns)', ReasonCode.MODEL_ARCHITECTURE)
        fixed = [side if isinstance(side, int) else 0 for side in shape[2:]]
        rows, columns = self._numbers(table, 'size', 2, fixed)
        if rows < 1 or columns < 1:
            raise ConfigurationError(
                f'{self._table}: the graph leaves its size open; give size: [rows, columns]')
        return inputs[0].name, (int(rows), int(columns))

    def _outputs_of(self, table: dict[str, Any]) -> list[str]:
        """Return the names of the outputs: semantics, and depth if there is any."""
        names = [one.name for one in self._session.get_outputs()]
        if 'semantic' not in table and len(names) > 1:
            raise ConfigurationError(
                f'{self._table}: the graph has the outputs {names}; say which one is the '
                'semantics, semantic: NAME')
        chosen = [table.get('semantic', names[0]), *filter(None, [table.get('depth')])]
        check_names(chosen, names, f'{self._table}: output')
        return chosen

    def _numbers(
            self, table: dict[str, Any], key: str, count: int, usual: Any) -> list[float]:
        """Return some numbers of the table, or the usual ones."""
        given = table.get(key, usual)
        if not isinstance(given, list | tuple) or len(given) != count or not all(
                isinstance(one, int | float) and not isinstance(one, bool) for one in given):
            raise ConfigurationError(
                f'{self._table}: {key} is {given!r}, wanted {count} number(s)')
        return [float(one) for one in given]


def load_labeller(teacher: str, threads: int = 0) -> Labeller:
    """
    Return a teacher.

    :param teacher: name or path of a model of this package, or path of a graph of another project
        that has a class table beside it.
    :param threads: CPU threads.
    :raises CheckpointError: if it is missing, damaged or foreign.
    :raises ConfigurationError: if its class table does not fit.
    """
    path = Path(teacher).expanduser()
    table = path.with_suffix('.yaml')
    load: Callable[[], Labeller] = lambda: ModelLabeller(teacher, threads)  # noqa: E731
    if path.suffix != '.onnx':
        return load()
    if table.is_file():
        return GraphLabeller(path, threads)

    try:
        return load()
    except CheckpointError as error:
        raise CheckpointError(
            f'{error}. A graph of another project needs a class table, {table}') from error


def _most_likely(scores: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the ids of the largest of (K, h, w) scores, and their softmax."""
    largest = scores.max(0)
    confidence = 1 / np.exp(scores - largest).sum(0)
    return scores.argmax(0).astype(np.uint8), confidence.astype(np.float32)


def _hue(place: int) -> tuple[int, int, int]:
    """Return the colour of a class; the golden ratio spreads any number of hues evenly."""
    red, green, blue = colorsys.hsv_to_rgb(0.618 * place % 1, 0.7, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
