# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Which parts of a camera's image the network sees, for cameras of any shape.

A network knows one size and one shape of pixels. An image of another shape is squeezed to it, cut
to its proportions, or shown in several tiles, whose answers become one again.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mtl_perception.egomotion import Pinhole
from mtl_perception.errors import FrameError
from mtl_perception.frames import UNKNOWN, Detections, Perception
from mtl_perception.manifest import Manifest
from mtl_perception.preprocessing import focal_length_at, resize, resize_nearest
from mtl_perception.reason_codes import ReasonCode

FitChoice = Literal['squeeze', 'crop', 'tiles', 'auto']
Roi = tuple[int, int, int, int]

CHOICES: tuple[FitChoice, ...] = get_args(FitChoice)
SQUEEZED_TILES = 1.2
"""
Tiles may change the proportions by this factor, and several do: what they share is wider then.

KITTI 2015, scenes of even position, two tiles of images 1.93 times too wide: at 1, 1.2 and 1.3
AbsRel is 0.220, 0.206 and 0.205; 0.59, 0.60 and 0.58 of the pixels of moving cars are called car.
"""
SQUEEZABLE = 1.33
"""
``auto`` takes tiles where the proportions differ by more than this factor.

In the middle of the same scenes, a tile squeezed by up to 1.33 finds as many cars as one that
is not, and fewer from 1.5 on.
"""
OVERLAP = 24
"""Neighbouring tiles share at least so many pixels of the network."""
MOST_TILES = 6
GRID = 8
"""Sides of a picture are multiples of this, as the motion head needs them."""


@dataclass(frozen=True)
class Fit:
    """
    How the images of a camera are brought to the network's size.

    :param how: ``squeeze`` resizes the whole image, whatever its proportions; ``crop`` shows the
        central part of the trained proportions; ``tiles`` as many parts of the trained proportions
        as cover the image, at as many times the cost; ``auto`` squeezes where the proportions
        differ by less than :data:`SQUEEZABLE`, and else takes tiles.
    :param roi: the only part of the image that counts, x, y, width and height in its pixels;
        None = all of it.
    :raises ValueError: if there is no such choice, or the part is not one.
    """

    how: FitChoice = 'squeeze'
    roi: Roi | None = None

    def __post_init__(self) -> None:
        if self.how not in CHOICES:
            raise ValueError(f'fit is {self.how!r}; it must be one of {list(CHOICES)}')
        if self.roi is not None and (problem := roi_problem(self.roi)):
            raise ValueError(f'roi is {list(self.roi)}; {problem}')

    def layout(
        self, height: int, width: int, manifest: Manifest,
        rectified: Callable[[Roi], Roi] | None = None,
    ) -> 'Layout':
        """
        Return what the network sees of images of a size.

        :param height: of the images, pixels.
        :param width: of the images, pixels.
        :param manifest: of the network.
        :param rectified: where a part lies after the image was rectified; None if it was not.
        :raises FrameError: ``I25_fit`` if the part is not inside of the image, or too many tiles
            would be needed.
        """
        x, y, columns, rows = self.roi or (0, 0, width, height)
        if x + columns > width or y + rows > height:
            raise FrameError(
                f'the roi is {columns} x {rows} pixels at ({x}, {y}), the image has {width} x '
                f'{height}; choose a part of the image', ReasonCode.IMAGE_FIT)
        if self.roi is not None and rectified is not None:
            x, y, columns, rows = rectified(self.roi)

        window = Window(y, x, rows, columns)
        if self.how == 'crop':
            window = _central(window, manifest)

        # All that differs between the choices is how far the whole may be squeezed.
        limit = {'tiles': SQUEEZED_TILES, 'auto': SQUEEZABLE}.get(self.how, math.inf)
        return _covering((height, width), window, manifest, limit)


SQUEEZED = Fit()
"""The whole image, resized."""


@dataclass(frozen=True)
class Window:
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return that part of an array (H, W, ...), a view."""
        return image[self.top:self.top + self.height, self.left:self.left + self.width]


@dataclass(frozen=True)
class Layout:
    """
    What the network sees of the images of one size.

    The window is resized to one picture, and each tile is a part of it with the network's size.
    All tiles have the same scale, so one focal length and one factor on depth hold for the whole
    picture, and so does the motion of the camera.

    :param camera: (H, W) of the images, pixels.
    :param window: the part of the image that is shown.
    :param picture: (rows, columns) of the window at the network's resolution.
    :param tiles: parts of the picture, from left to right or from top to bottom.
    """

    camera: tuple[int, int]
    window: Window
    picture: tuple[int, int]
    tiles: tuple[Window, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the network sees the whole image."""
        return (self.window.height, self.window.width) == self.camera

    @property
    def is_plain(self) -> bool:
        """Whether the network sees the whole image at once."""
        return self.is_whole and len(self.tiles) == 1

    @property
    def canvas(self) -> tuple[int, int]:
        """
        The size (rows, columns) of the whole image at the network's resolution.

        Where the network sees a small part magnified, it is the camera's own size.
        """
        place = self._magnified
        size = (max(round(self.camera[0] * self._scale[0]), place.top + place.height),
                max(round(self.camera[1] * self._scale[1]), place.left + place.width))
        if not self.is_whole and size[0] * size[1] > self.camera[0] * self.camera[1]:
            return self.camera
        return size

    @property
    def _scale(self) -> tuple[float, float]:
        """How many pixels of the picture one of the camera has, along y and x."""
        return self.picture[0] / self.window.height, self.picture[1] / self.window.width

    @property
    def _magnified(self) -> Window:
        """Where the window lies in the whole image at the network's resolution."""
        down, right = self._scale
        return Window(
            round(self.window.top * down), round(self.window.left * right), *self.picture)

    def _place(self, size: tuple[int, int]) -> Window:
        """Return where the window lies in an image of the camera's size or of the canvas."""
        return self.window if size == self.camera else self._magnified

    def size(self, output_size: Literal['camera', 'network']) -> tuple[int, int]:
        """Return (H, W) of the results."""
        return self.camera if output_size == 'camera' else self.canvas

    def shown_size(self, output_size: Literal['camera', 'network']) -> tuple[int, int]:
        """Return (H, W) of the window in the results."""
        place = self._place(self.size(output_size))
        return place.height, place.width

    def shown(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the picture of an image, (rows, columns, 3) uint8."""
        return resize(image if self.is_whole else self.window.of(image), *self.picture)

    def cut(self, picture: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Return the tiles of a picture, each contiguous and of the network's size."""
        if len(self.tiles) == 1:
            return [picture]
        return [np.ascontiguousarray(tile.of(picture)) for tile in self.tiles]

    def focal_y(self, focal_px: float) -> float:
        """Return the focal length along y in the picture, pixels."""
        return focal_length_at(focal_px, self.window.height, self.picture[0])

    def pinhole(
        self, focal_px: float, focal_y_px: float | None = None,
        centre: tuple[float, float] | None = None,
    ) -> Pinhole:
        """
        Return the camera of the picture.

        :param focal_px: focal length along x at the camera's size, pixels.
        :param focal_y_px: along y; None = the same.
        :param centre: column and row of the principal point; None = the middle of the image.
        """
        height, width = self.camera
        column, row = centre or ((width - 1) / 2, (height - 1) / 2)
        camera = Pinhole(
            focal_px, focal_y_px or focal_px, column - self.window.left, row - self.window.top)
        return camera.resized((self.window.height, self.window.width), self.picture)

    def restore(
        self, found: Perception, output_size: Literal['camera', 'network'],
    ) -> Perception:
        """
        Return what was found in the window, in the whole image.

        :param found: at :meth:`shown_size`.
        :param output_size: whether the results have the camera's or the network's size.
        :return: unknown outside of the window: unlabelled, NaN, or no object.
        """
        if self.is_whole:
            return found
        size = self.size(output_size)
        place = self._place(size)

        maps: dict[str, Any] = {}
        for name, unknown in UNKNOWN.items():
            if (values := getattr(found, name)) is not None:
                maps[name] = np.full(size, unknown, values.dtype)
                place.of(maps[name])[:] = values
        if (residual := found.residual) is not None:
            place = self._place(self.canvas)
            factors = np.array([place.width, place.height]) / residual.shape[1::-1]
            maps['residual'] = np.zeros((*self.canvas, 2), np.float32)
            place.of(maps['residual'])[:] = factors * resize_nearest(
                residual.transpose(2, 0, 1), place.height, place.width).transpose(1, 2, 0)

        if (boxes := found.detection) is not None:
            place = self._place(size)
            shift = np.array([place.left, place.top] * 2, np.float32)
            maps['detection'] = Detections(boxes.corners + shift, boxes.scores, boxes.classes)
        return dataclasses.replace(found, **maps)

    def text(self) -> str:
        """Return in words what the network sees, and what that costs."""
        window = self.window
        height, width = self.camera
        text = f'images of {width} x {height} pixels'
        if not self.is_whole:
            text += (f', of them {window.width} x {window.height} at ({window.left}, '
                     f'{window.top}); outside of it all is unknown')
        count = len(self.tiles)
        if count == 1:
            return f'{text}: one run of the network for each'

        rows, columns = self.tiles[0].height, self.tiles[0].width
        across = round(columns * window.width / self.picture[1])
        down = round(rows * window.height / self.picture[0])
        return (f'{text}: {count} tiles of {across} x {down}, so {count} runs of the network for '
                'each')


def roi_problem(roi: Sequence[int]) -> str:
    """Return why numbers are no part of an image, empty if they are."""
    if len(roi) == 4 and min(roi[:2]) >= 0 and min(roi[2:]) > 0:
        return ''
    return 'wanted x, y, width and height in pixels of the image, the last two at least 1'


def roi_of(given: Any) -> Roi | None:
    """
    Return the part of an image that a parameter, an option or a YAML file gives.

    :param given: four numbers, or a text such as ``0,100,1280,500``; nothing, or a width and
        height of 0 as in ROS, is the whole image.
    :raises ValueError: if it is none of these.
    """
    words = re.split(r'[,\s]+', given.strip('[] ')) if isinstance(given, str) else list(given)
    try:
        numbers = [int(str(word)) for word in words if str(word)]
    except ValueError:
        numbers = [-1]
    if not any(numbers[2:]) and (not numbers or numbers == [0, 0, 0, 0]):
        return None
    if problem := roi_problem(numbers):
        raise ValueError(f'{str(given)[:40]!r}, {problem}')
    x, y, width, height = numbers
    return x, y, width, height


def roi_text(roi: Roi | None) -> str:
    """Return what :func:`roi_of` reads."""
    return ','.join(map(str, roi or (0, 0, 0, 0)))


def _across(window: Window, manifest: Manifest) -> float:
    """
    Return the width of a window in pixels of the network if its height is that of the network.

    Training images may have been squeezed too: their pixels are as they were trained.
    """
    aspect = manifest.focal_px / (manifest.focal_y_px or manifest.focal_px)
    return window.width / window.height * manifest.height * aspect


def _central(window: Window, manifest: Manifest) -> Window:
    """Return the largest part of the trained proportions in the middle of a window."""
    share = _across(window, manifest) / manifest.width
    width = max(1, round(window.width / max(1.0, share)))
    height = max(1, round(window.height * min(1.0, share)))
    return Window(
        window.top + (window.height - height) // 2, window.left + (window.width - width) // 2,
        height, width)


def _covering(
    camera: tuple[int, int], window: Window, manifest: Manifest, limit: float,
) -> Layout:
    """
    Return the fewest tiles that cover a window.

    :param camera: (H, W) of the image.
    :param window: the part of it that is shown.
    :param manifest: of the network.
    :param limit: by how much the proportions may change if one tile is enough then.
    :raises FrameError: ``I25_fit`` if they were too many.
    """
    across = _across(window, manifest)
    height, width = manifest.height, manifest.width
    if across >= width:
        columns, lefts = _spread(across, width, limit)
        tiles = tuple(Window(0, left, height, width) for left in lefts)
        return Layout(camera, window, (height, columns), tiles)

    rows, tops = _spread(height * width / across, height, limit)
    tiles = tuple(Window(top, 0, height, width) for top in tops)
    return Layout(camera, window, (rows, width), tiles)


def _spread(length: float, tile: int, limit: float) -> tuple[int, list[int]]:
    """Return how long the picture becomes, and where each tile of a length begins in it."""
    if length <= tile * limit:
        return tile, [0]

    # n tiles cover n t - (n - 1) o pixels.
    length /= SQUEEZED_TILES
    count = max(2, math.ceil((length - OVERLAP) / (tile - OVERLAP)))
    if count > MOST_TILES:
        raise FrameError(
            f'the image would need {count} tiles, at most {MOST_TILES} are taken; choose a part '
            'of it (roi), or crop or squeeze as fit', ReasonCode.IMAGE_FIT)
    whole = min(math.ceil(length / GRID) * GRID, count * tile - (count - 1) * OVERLAP)
    return whole, [round(number * (whole - tile) / (count - 1)) for number in range(count)]
