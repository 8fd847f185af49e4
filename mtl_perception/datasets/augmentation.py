# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Random changes of a clip's colours and view; one draw for all of its frames and labels."""

from dataclasses import field, replace
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat

from mtl_perception.datasets.sample import Sample
from mtl_perception.errors import ConfigurationError
from mtl_perception.settings import checked_dataclass, one_of

_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""RGB to brightness and two axes of colour (NTSC), in which hue is an angle."""

_STILL = dict.fromkeys((
    'flip', 'brightness', 'frame_brightness', 'contrast', 'gamma', 'saturation', 'hue', 'tint',
    'noise', 'blur'), 0.0)
_MIRRORED = {**_STILL, 'flip': 0.5}

PRESETS: dict[str, dict[str, Any]] = {
    'none': _STILL,
    'kendall_tiny': _MIRRORED,
    'kendall': {**_MIRRORED, 'zoom': 1.0, 'zoom_out': 0.3},
    'multinetpp': _MIRRORED,
    'leang': _MIRRORED,
    'xtasc': {**_MIRRORED, 'zooms': [1.0, 1.2, 1.5], 'nearer': False},
}
"""
Augmentation of the papers: Kendall et al. (appendix A) mirror, and at full size scale images by
0.7 to 2.0 before they crop 512x512; XTasC-Net (section 4) mirrors and enlarges by 1, 1.2 or 1.5,
and its code leaves depth unchanged. MultiNet++ and Leang et al. name none: mirroring is a choice
of ours.
"""


Probability = Annotated[float, Field(ge=0, le=1)]


def with_preset(given: Any) -> Any:
    """Return the settings of an :class:`Augmentation` on top of those of the preset they name."""
    name = given.get('preset') if isinstance(given, dict) else None
    return {**PRESETS.get(str(name), {}), **given} if name else given


@checked_dataclass
class Augmentation:
    """
    How much a clip may change; 0 everywhere changes nothing.

    Each strength is the largest change in either direction; the change is drawn uniformly. With
    zoom, a part of the image is enlarged to the size of the whole, in every frame and label alike.
    The meaning for depth is ambiguous: the same enlarged image comes from a longer lens or from a
    nearer scene, and published codes differ (MTAN's divides depth by the zoom, XTasC-Net's leaves
    it), so ``nearer`` chooses.

    :param preset: a name in :data:`PRESETS` that supplies settings that are not given; empty for
        the defaults below.
    :param flip: probability of mirroring left to right, labels included.
    :param brightness: factor exp(+-brightness) on all values.
    :param frame_brightness: the same, drawn for each frame of a clip by itself.
    :param contrast: factor exp(+-contrast) around middle grey.
    :param gamma: exponent exp(+-gamma).
    :param saturation: factor exp(+-saturation) on the distance from grey.
    :param hue: rotation of the colour circle, degrees.
    :param tint: factor exp(+-tint) on each colour channel.
    :param noise: largest standard deviation of the noise of a pixel, 0 to 255.
    :param blur: probability of a Gaussian blur.
    :param blur_sigma: largest standard deviation of the blur, pixels at 384 columns.
    :param zoom: the view is enlarged by up to 1 + zoom, at a place drawn uniformly.
    :param zoom_out: the view is reduced down to 1 - zoom_out; possible only with a crop, because
        nothing is known around the whole image.
    :param zooms: the enlargement is one of these with equal probability, in place of zoom and
        zoom_out.
    :param squeeze: half of the clips, drawn at random, show as little as 1 / (1 + squeeze) of
        their rows, stretched to the full height, as if the image of a wider camera had been
        squeezed into these proportions.
    :param off_level: how far the middle row of a view may lie from that of the image, as a share
        of the height of the view; from 1 on anywhere. A camera on a vehicle looks nearly level, so
        the row tells much about depth; views from anywhere teach the network not to trust it.
    :param shadow: probability of ragged shadows on the ground, as leaves and houses cast them; the
        same in all frames.
    :param nearer: True divides depth by the zoom, as if the same lens saw a nearer scene: right
        for a network that learns one focal length. False leaves depth, as a longer lens does.
        Either way a disparity in pixels (focal length x baseline / depth) grows with the zoom.
    """

    preset: Annotated[str, one_of(['', *PRESETS])] = ''
    flip: Probability = 0.5
    brightness: NonNegativeFloat = 0.3
    frame_brightness: NonNegativeFloat = 0.03
    contrast: NonNegativeFloat = 0.3
    gamma: NonNegativeFloat = 0.3
    saturation: NonNegativeFloat = 0.5
    hue: NonNegativeFloat = 12.0
    tint: NonNegativeFloat = 0.08
    noise: NonNegativeFloat = 8.0
    blur: Probability = 0.25
    blur_sigma: NonNegativeFloat = 1.2
    zoom: NonNegativeFloat = 0.0
    zoom_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    zooms: list[PositiveFloat] = field(default_factory=list)
    squeeze: NonNegativeFloat = 0.0
    off_level: NonNegativeFloat = 1.0
    shadow: Probability = 0.0
    nearer: bool = True

    @property
    def smallest(self) -> float:
        """The smallest enlargement."""
        return min(self.zooms, default=1 - self.zoom_out)

    def __call__(
            self, sample: Sample, generator: np.random.Generator,
            crop: tuple[int, int] | None = None) -> Sample:
        """
        Return a changed copy; the same generator state gives the same copy.

        :param sample: the clip; it is not modified.
        :param generator: source of the random numbers.
        :param crop: (rows, columns) that are cropped from the enlarged or reduced view; None for
            the size of the clip.
        :raises ConfigurationError: if the view is smaller than the crop.
        """
        # Geometry first, labels included; then colours, of the images alone.
        if generator.random() < self.flip:
            sample = sample.flipped()
        if self.zoom or self.zoom_out or self.zooms or self.squeeze or crop:
            sample = self._zoomed(sample, generator, crop or sample.image.shape[1:3])

        curve = self._curve(generator)
        colours = self._colour_matrix(generator)
        noise = generator.uniform(0, self.noise) if self.noise else 0.0
        sigma = 0.0
        if generator.random() < self.blur:
            sigma = generator.uniform(0.3, self.blur_sigma) * sample.image.shape[2] / 384

        # As with squeeze, nothing is drawn where it is not set.
        light = None
        if self.shadow and generator.random() < self.shadow:
            light = _shadows(sample.image.shape[1:3], generator)

        frames = []
        for frame in sample.image:
            if light is not None:
                frame = np.rint(frame * light[..., None]).astype(np.uint8)

            # Exposure differs a little from frame to frame; everything else is one draw per clip.
            gain = np.exp(generator.uniform(-self.frame_brightness, self.frame_brightness))
            table = np.clip(curve * gain, 0, 255).round().astype(np.uint8)
            changed = cv2.transform(cv2.LUT(np.ascontiguousarray(frame), table), colours)

            if sigma > 0.1:
                changed = cv2.GaussianBlur(changed, (0, 0), sigma)
            if noise:
                grain = generator.standard_normal(changed.shape, np.float32) * np.float32(noise)
                changed = np.clip(changed + grain, 0, 255).round().astype(np.uint8)
            frames.append(changed)

        return replace(sample, image=np.stack(frames).astype(np.uint8, copy=False))

    def _zoomed(
            self, sample: Sample, generator: np.random.Generator, size: tuple[int, ...]) -> Sample:
        """Return a part of every frame and label, enlarged or reduced to a size."""
        rows, columns = sample.image.shape[1:3]
        height, width = size

        zoom = (float(generator.choice(self.zooms)) if self.zooms else
                generator.uniform(1 - self.zoom_out, 1 + self.zoom))
        # The part that fills the result after the zoom, in the proportions of the result.
        across = max(1, round(width / zoom))
        down = max(1, round(height * across / width))
        if across > columns or down > rows:
            raise ConfigurationError(
                f'a zoom of {zoom:g} shows {across}x{down} pixels in {width}x{height}, but the '
                f'image has {columns}x{rows}; crop smaller parts (crop_height, crop_width), or '
                'zoom out less')

        # A draw is made only where squeeze is set, so that earlier trainings repeat bit by bit.
        share = across / width
        if self.squeeze and generator.random() < 0.5:
            down = max(1, round(down / generator.uniform(1, 1 + self.squeeze)))
            share = down / height

        # The middle of the view lies within off_level of that of the image; tops are whole rows.
        spare = rows - down
        away = min(int(self.off_level * down), spare // 2) if self.off_level < 1 else spare
        highest, lowest = max(0, spare // 2 - away), min(spare, spare - spare // 2 + away)
        top, left = generator.integers([lowest - highest + 1, columns - across + 1])
        part = sample.cropped(highest + int(top), int(left), down, across)

        if self.nearer and part.depth is not None:
            nearer = (part.depth * share).astype(part.depth.dtype)
            part = replace(part, depth=nearer)
        return part.resized(height, width)

    def _curve(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """Return the new value of each of the 256 values, not rounded."""
        gamma, contrast, brightness = (
            np.exp(generator.uniform(-strength, strength))
            for strength in (self.gamma, self.contrast, self.brightness))
        values = (np.arange(256) / 255) ** gamma
        values = ((values - 0.5) * contrast + 0.5) * brightness
        return np.asarray(values * 255)

    def _colour_matrix(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """Return the (3, 3) matrix on RGB that changes saturation, hue and tint."""
        saturation = np.exp(generator.uniform(-self.saturation, self.saturation))
        angle = np.deg2rad(generator.uniform(-self.hue, self.hue))

        # In YIQ, saturation is the length and hue the angle of the vector (I, Q).
        cosine = saturation * np.cos(angle)
        sine = saturation * np.sin(angle)
        turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])

        tint = np.exp(generator.uniform(-self.tint, self.tint, 3))
        matrix: NDArray[np.float64] = np.diag(tint) @ np.linalg.inv(_TO_YIQ) @ turn @ _TO_YIQ
        return matrix


def _shadows(size: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float32]:
    """
    Return the share of light that is left, (H, W) float32: 1 in the sun, less in the shade.

    Smooth noise above a threshold is in the shade. It lies on a level ground below a horizon near
    the middle row, with grains of 0.15 to 2 times the height of the camera, and fades with
    distance; whatever stands there is shaded as the ground behind it.
    """
    height, width = size
    horizon = height * generator.uniform(0.4, 0.6)
    below = (np.arange(height, dtype=np.float32)[:, None] - horizon) / width
    ahead = 1 / np.maximum(below, 1e-3)
    across = (np.arange(width, dtype=np.float32) / width - 0.5) * ahead

    # Four texels of the tile are a grain. A camera of height 1 and focal length 0.6 sees the
    # ground at 0.6 * ahead.
    side = 512
    coarse = np.tile(generator.standard_normal((side // 4, side // 4), np.float32), (2, 2))
    tile = cv2.resize(coarse, (2 * side, 2 * side), interpolation=cv2.INTER_CUBIC)
    scale = 4 / float(np.exp(generator.uniform(np.log(0.15), np.log(2))))
    left, top = generator.uniform(0, side, 2)
    found = cv2.remap(
        tile, np.mod(across * scale + left, side).astype(np.float32) + 4,
        np.mod(0.6 * np.broadcast_to(ahead, size) * scale + top, side).astype(np.float32) + 4,
        cv2.INTER_LINEAR)

    dark = (found > generator.uniform(-0.8, 0.8)).astype(np.float32)
    shade = cv2.GaussianBlur(dark, (0, 0), float(generator.uniform(0.4, 1.5)))
    near = np.clip((below - 0.01) / 0.06, 0, 1)
    return np.asarray(1 - generator.uniform(0.25, 0.7) * shade * near, np.float32)
