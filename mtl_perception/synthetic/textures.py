# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Procedural textures (noise, facades, leaves, signs) in one atlas with mip levels."""

import cv2
import numpy as np
from numpy.typing import NDArray

TILE = 256
"""Width and height of a tile at full size, pixels."""
PAD = 4
"""Border of a tile, which repeats the opposite edge for interpolation."""
LEVELS = 6
"""Mip levels."""
FACADES = 6
SHOPS = 4
LEAVES = 4
SIGNS = 8
MORE_LEAVES = 5
"""Leaf cards that other looks add at the end of the tiles with holes."""

FACADE = 0
SHOP = FACADE + FACADES
WALL = SHOP + SHOPS
ROOF = WALL + 1
HEDGE = ROOF + 1
LEAF = HEDGE + 1
SIGN = LEAF + LEAVES
TILES = SIGN + SIGNS
"""Number of tiles of the classic look; others may add more."""

BARE = TILES
SOLID_AGAIN = TILES + 13
"""Tiles from ``BARE`` on have holes like those from ``LEAF`` on; from here on, they have none."""

Floats = NDArray[np.float32]


def holed(texture: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return which tiles have holes, show both of their sides and do not repeat."""
    return (texture >= LEAF) & (texture < SOLID_AGAIN)


def leafy(texture: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return which tiles are leaves, which let light through."""
    return (texture >= LEAF) & (texture < SOLID_AGAIN) & ~(
        (texture >= SIGN) & (texture < SOLID_AGAIN - MORE_LEAVES))


def noise(rng: np.random.Generator, size: int, power: float) -> Floats:
    """
    Return seamless noise whose amplitude falls with frequency f as ``f ** -power``.

    :return: (size, size) float32 with mean 0 and standard deviation 1.
    """
    # White noise, filtered in the frequency domain; without its mean, as radius is Inf there
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)).astype(np.float32))
    fy = np.fft.fftfreq(size)[:, None]
    fx = np.fft.rfftfreq(size)[None]
    radius = np.sqrt(fx * fx + fy * fy)
    radius[0, 0] = np.inf
    field = np.fft.irfft2(spectrum * radius ** -power, s=(size, size))
    return np.asarray(field / field.std(), np.float32)


class Atlas:
    """
    All tiles of one street, at all mip levels.

    :param rng: decides the appearance of every tile.
    :param tiles: picture and mask of each tile; None draws those of the classic look.

    ``colour`` is (h, w, 3) uint8, the square root of a linear factor (255 = 1); ``alpha`` is
    (h, w) uint8, 0 where a leaf card or a sign has a hole. Tile t at level k starts at
    ``(PAD + t * (TILE + 2 * PAD), top[k])`` and is ``TILE >> k`` pixels wide.
    """

    def __init__(self, rng: np.random.Generator,
                 tiles: 'list[tuple[Floats, Floats]] | None' = None) -> None:
        drawn = _tiles(rng) if tiles is None else tiles
        self.top = np.zeros(LEVELS, np.int64)
        height = 0
        for level in range(LEVELS):
            self.top[level] = height + PAD
            height += (TILE >> level) + 2 * PAD
        width = len(drawn) * (TILE + 2 * PAD)
        self.colour: NDArray[np.uint8] = np.zeros((height, width, 3), np.uint8)
        self.alpha: NDArray[np.uint8] = np.zeros((height, width), np.uint8)
        for tile, (picture, mask) in enumerate(drawn):
            self._store(tile, picture, mask)

    def _store(self, tile: int, picture: Floats, mask: Floats) -> None:
        """Write a tile at all its levels."""
        left = tile * (TILE + 2 * PAD)
        for level in range(LEVELS):
            size = TILE >> level
            small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
            cover = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)
            border = (PAD, PAD, PAD, PAD, cv2.BORDER_WRAP)
            top = int(self.top[level]) - PAD
            rows = slice(top, top + size + 2 * PAD)
            columns = slice(left, left + size + 2 * PAD)

            coded = np.sqrt(np.clip(small, 0, 1)) * 255
            self.colour[rows, columns] = cv2.copyMakeBorder(
                np.rint(coded).astype(np.uint8), *border)
            self.alpha[rows, columns] = cv2.copyMakeBorder(
                np.rint(np.clip(cover, 0, 1) * 255).astype(np.uint8), *border)


def _tiles(rng: np.random.Generator) -> list[tuple[Floats, Floats]]:
    """Return picture and mask of each tile, in the order of the numbers above."""
    full = np.ones((TILE, TILE), np.float32)
    tiles = [(_facade(rng), full) for _ in range(FACADES)]
    tiles += [(_shop(rng), full) for _ in range(SHOPS)]
    tiles.append((_wall(rng, bricks=bool(rng.random() < 0.5)), full))
    tiles.append((_roof(rng), full))
    tiles.append((_foliage(rng), full))
    tiles += [_leaf_card(rng) for _ in range(LEAVES)]
    return tiles + signs(rng)


def signs(rng: np.random.Generator) -> list[tuple[Floats, Floats]]:
    """Return picture and mask of every sign."""
    return [_sign(rng, kind) for kind in range(SIGNS)]


def _wall(rng: np.random.Generator, bricks: bool) -> Floats:
    """Draw plaster or bricks."""
    grain = 1 + 0.05 * noise(rng, TILE, 0.3) + 0.06 * noise(rng, TILE, 1.4)
    wall = np.repeat(grain[..., None], 3, axis=2) * 0.9
    if bricks:  # every other row is shifted by half a brick
        rows = np.arange(TILE) // 8
        shade = 1 + 0.10 * rng.standard_normal((TILE // 8, 16)).astype(np.float32)
        columns = (np.arange(TILE)[None] + (rows % 2)[:, None] * 8) // 16 % 16
        wall *= shade[rows[:, None], columns][..., None]
        wall[::8] *= 1.12
    return np.asarray(wall, np.float32)


def _window(rng: np.random.Generator, wall: Floats, x: int, y: int, w: int, h: int) -> None:
    """Draw a window with frame, glass and sill onto a wall."""
    frame = np.float32(rng.choice([0.95, 0.85, 0.35, 0.12]))
    wall[y - 3:y + h + 3, x - 3:x + w + 3] = frame

    # Glass mirrors more of the sky at its top.
    glass = np.linspace(0.16, 0.05, h, dtype=np.float32)[:, None, None] * np.array(
        [0.85, 1.0, 1.15], np.float32)
    pane = np.broadcast_to(glass * rng.uniform(0.4, 1.9), (h, w, 3)).copy()
    if rng.random() < 0.45:  # a curtain or a blind
        part = int(h * rng.uniform(0.2, 0.9))
        pane[:part] = rng.uniform(0.25, 0.65) * np.array([1, 0.96, 0.88], np.float32)
    wall[y:y + h, x:x + w] = pane

    if w > 16:
        wall[y:y + h, x + w // 2 - 1:x + w // 2 + 1] = frame
    wall[y + h + 3:y + h + 6, x - 5:x + w + 5] *= 1.25
    wall[y + h + 6:y + h + 9, x - 4:x + w + 4] *= 0.7


def _facade(rng: np.random.Generator) -> Floats:
    """Draw three floors of windows, four bays wide: 12 m by 9 m."""
    wall = _wall(rng, bricks=bool(rng.random() < 0.4))
    bays = int(rng.integers(3, 6))
    floors = 3
    wide = int(TILE / bays * rng.uniform(0.35, 0.72))
    tall = int(TILE / floors * rng.uniform(0.42, 0.7))

    if rng.random() < 0.5:  # bands between the floors
        for floor in range(floors):
            wall[floor * TILE // floors:floor * TILE // floors + 5] *= 1.3

    for floor in range(floors):
        for bay in range(bays):
            x = int((bay + 0.5) * TILE / bays - wide / 2)
            y = int((floor + 0.5) * TILE / floors - tall / 2)
            _window(rng, wall, x, y, wide, min(tall, TILE // floors - 16))
    return wall


def _shop(rng: np.random.Generator) -> Floats:
    """Draw a ground floor with doors and shop windows: 9 m by 3.3 m."""
    wall = _wall(rng, bricks=False) * rng.uniform(0.6, 1.0)

    # Doors and windows from left to right
    x = 8
    while x < TILE - 60:
        wide = min(int(rng.integers(34, 80)), TILE - 10 - x)
        if rng.random() < 0.4:  # a door
            wide = 26
            wall[70:TILE - 2, x:x + wide] = rng.uniform(0.03, 0.5, 3)
            wall[84:130, x + 5:x + wide - 5] = 0.08

        else:  # a window, down to the ground or to a low wall
            low = int(rng.choice([TILE - 24, TILE - 70]))
            _window(rng, wall, x, 84, wide, low - 84)
            if rng.random() < 0.5:  # the sign board above it
                wall[48:72, x - 2:x + wide + 2] = rng.uniform(0.05, 0.8, 3)
                wall[56:64, x + 6:x + wide - 6:3] = 0.8

        x += wide + int(rng.integers(10, 30))

    wall[TILE - 6:] *= 0.6
    return np.asarray(wall, np.float32)


def _roof(rng: np.random.Generator) -> Floats:
    """Draw rows of roof tiles."""
    grain = 1 + 0.12 * noise(rng, TILE, 0.6)
    grain *= 0.85 + 0.15 * (np.arange(TILE) % 16 > 2)[:, None]
    return np.repeat(grain[..., None], 3, axis=2).astype(np.float32) * 0.85


def _foliage(rng: np.random.Generator) -> Floats:
    """Draw dense leaves."""
    depth = 0.62 + 0.22 * noise(rng, TILE, 0.7) + 0.10 * noise(rng, TILE, 1.6)
    tint = np.stack([depth * (1 + 0.10 * noise(rng, TILE, 1.0)), depth, depth * 0.85], -1)
    return np.asarray(np.clip(tint, 0.05, 1), np.float32)


def _leaf_card(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw a clump of leaves: ragged at the rim, with holes, dark below and inside."""
    picture = _foliage(rng)
    y, x = np.mgrid[0:TILE, 0:TILE].astype(np.float32) / TILE * 2 - 1
    radius = np.sqrt(x * x + y * y)
    field = (0.86 - radius) * 3.2 + 0.55 * noise(rng, TILE, 1.1) + 0.35 * noise(rng, TILE, 0.5)
    mask = (field > 0).astype(np.float32)
    picture *= (0.95 - 0.35 * y + 0.10 * radius)[..., None]

    # No leaf may touch the edge, where the border wraps.
    mask[[0, -1]] = 0
    mask[:, [0, -1]] = 0
    return np.asarray(np.clip(picture, 0.03, 1), np.float32), mask


_RED = (0.60, 0.02, 0.03)
_BLUE = (0.02, 0.10, 0.45)
_YELLOW = (0.85, 0.55, 0.02)
_WHITE = (0.88, 0.88, 0.88)
_GREEN = (0.02, 0.25, 0.10)


def _sign(rng: np.random.Generator, kind: int) -> tuple[Floats, Floats]:
    """Draw a sign of one of eight shapes; v = 1 (row 0) is its top."""
    picture = np.full((TILE, TILE, 3), 0.5, np.float32)
    mask = np.zeros((TILE, TILE), np.float32)
    middle = (TILE // 2, TILE // 2)

    def polygon(sides: int, turn: float, size: float) -> NDArray[np.int32]:
        """Return the corners of a regular polygon around the middle."""
        angle = turn + np.arange(sides) * (2 * np.pi / sides)
        corners = np.stack([np.cos(angle), np.sin(angle)], 1) * size + TILE / 2
        return np.rint(corners).astype(np.int32)

    def shape(points: NDArray[np.int32], outer: tuple[float, ...],
              inner: tuple[float, ...], share: float) -> None:
        """Draw a plate with a border."""
        cv2.fillPoly(mask, [points], (1.0,))
        cv2.fillPoly(picture, [points], outer)
        centre = points.mean(0)
        cv2.fillPoly(picture, [np.rint((points - centre) * share + centre).astype(np.int32)],
                     inner)

    if kind in (0, 1, 2):  # speed limit, no stopping, mandatory
        outer, inner = [(_RED, _WHITE), (_RED, _BLUE), (_WHITE, _BLUE)][kind]
        shape(polygon(32, 0, 124), outer, inner, [0.76, 0.8, 0.93][kind])
    elif kind == 3:  # danger
        shape(polygon(3, -np.pi / 2, 124), _RED, _WHITE, 0.7)
    elif kind == 4:  # give way
        shape(polygon(3, np.pi / 2, 124), _RED, _WHITE, 0.7)
    elif kind == 5:  # stop
        shape(polygon(8, np.pi / 8, 124), _RED, _RED, 0.9)
    elif kind == 6:  # priority road
        shape(polygon(4, 0, 124), _WHITE, _YELLOW, 0.8)
    else:
        # a square plate with a symbol: parking, hospital, direction
        shape(polygon(4, np.pi / 4, 170), _WHITE, _BLUE if rng.random() < 0.6 else _GREEN, 0.92)

    # A character or a number in the middle
    ink = (0.03, 0.03, 0.03) if kind in (0, 3, 4) else _WHITE
    if kind in (0, 2, 3, 5, 7):
        text = str(rng.choice(['30', '50', '40', 'P', '!', 'H', 'X']))
        scale = 3.4 if len(text) > 1 else 4.6
        (w, h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 18)
        low = middle[1] + h // 2 + (18 if kind == 3 else 0)
        size = 0.62 if kind in (3, 5) else 1.0

        stencil = np.zeros((TILE, TILE), np.uint8)
        cv2.putText(stencil, text, (int(middle[0] - w * size / 2), low),
                    cv2.FONT_HERSHEY_SIMPLEX, scale * size, 255, 16, cv2.LINE_AA)
        picture += (np.array(ink, np.float32) - picture) * (stencil[..., None] / np.float32(255))

    if kind == 1:
        cv2.line(picture, (50, 50), (206, 206), _RED, 22)
    return picture, mask
