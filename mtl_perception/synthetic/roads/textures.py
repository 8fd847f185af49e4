# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Textures of the look ``roads``: facades, shops, leaves, bare branches, railings, walls."""

import cv2
import numpy as np

from mtl_perception.synthetic import textures
from mtl_perception.synthetic.roads.facades import facade, glass_front, masonry, shop, timber
from mtl_perception.synthetic.textures import TILE, Atlas, Floats, noise

BRANCHES, RAILINGS, MORE_LEAVES = 4, 4, textures.MORE_LEAVES
MORE_FACADES, MORE_SHOPS = 5, 4

RAILING = textures.BARE + BRANCHES
LEAF = RAILING + RAILINGS
SOLID = LEAF + MORE_LEAVES
SHOP = SOLID + MORE_FACADES
BRICK = SHOP + MORE_SHOPS
STONE, BOARDS, CONCRETE, HOARDING, HEDGE = range(BRICK + 1, BRICK + 6)

FACADES = (*range(textures.FACADE, textures.FACADE + textures.FACADES), *range(SOLID, SHOP))
SHOPS = (*range(textures.SHOP, textures.SHOP + textures.SHOPS), *range(SHOP, BRICK))
LEAVES = (*range(textures.LEAF, textures.SIGN), *range(LEAF, SOLID))


def road_atlas(rng: np.random.Generator) -> Atlas:
    """Return the atlas of one street; its numbers are those of the classic one, and more."""
    full = np.ones((TILE, TILE), np.float32)

    # In the places of the classic tiles
    tiles = [(facade(rng), full) for _ in range(textures.FACADES)]
    tiles += [(shop(rng), full) for _ in range(textures.SHOPS)]
    tiles += [(masonry(rng, str(rng.choice(['plaster', 'brick']))), full), (_roof(rng), full),
              (_dense(rng), full)]
    tiles += [_clump(rng, float(rng.uniform(0.75, 1.0))) for _ in range(textures.LEAVES)]
    tiles += textures.signs(rng)

    # Those with holes, then the solid ones
    tiles += [_branches(rng) for _ in range(BRANCHES)]
    tiles += [_railing(rng, kind) for kind in range(RAILINGS)]
    tiles += [_clump(rng, float(rng.uniform(0.4, 0.8))) for _ in range(MORE_LEAVES)]
    tiles += [(glass_front(rng) if rng.random() < 0.25 else facade(rng), full)
              for _ in range(MORE_FACADES)]
    tiles += [(shop(rng), full) for _ in range(MORE_SHOPS)]
    tiles += [(masonry(rng, kind), full) for kind in ('brick', 'stone')]
    tiles += [(timber(rng), full), (masonry(rng, 'concrete'), full), (_hoarding(rng), full),
              (_dense(rng), full)]
    return Atlas(rng, tiles)


def _leafy(rng: np.random.Generator) -> Floats:
    """Draw leaves: lit and dark patches of many sizes, with gaps that are nearly black."""
    coarse, middle, fine = (noise(rng, TILE, power) for power in (1.5, 0.9, 0.35))
    light = np.exp(0.42 * coarse + 0.40 * middle + 0.38 * fine) * 0.40
    light *= np.where(middle + 0.7 * fine < -0.9, 0.25, 1.0)
    hue = noise(rng, TILE, 1.2)
    return np.stack([light * (1 + 0.22 * hue), light, light * (0.85 - 0.15 * hue)], -1)


def _dense(rng: np.random.Generator) -> Floats:
    """Draw a hedge without holes."""
    return np.asarray(np.clip(_leafy(rng) * 1.1, 0.02, 1), np.float32)


def _clump(rng: np.random.Generator, cover: float) -> tuple[Floats, Floats]:
    """Draw a clump of leaves with a ragged rim; ``cover`` is how dense it is, 0 to 1."""
    y, x = np.mgrid[0:TILE, 0:TILE].astype(np.float32) / TILE * 2 - 1
    radius = np.sqrt(x * x + y * y)
    field = (0.80 - radius) * 2.6 + 0.6 * noise(rng, TILE, 1.2) + 0.5 * noise(rng, TILE, 0.5)
    holes = noise(rng, TILE, 0.8) > 2.2 * cover
    mask = ((field > 0) & ~holes).astype(np.float32)

    # Darker below and inside; no leaf may touch the edge, where the border wraps.
    picture = _leafy(rng) * (0.95 - 0.45 * y + 0.15 * radius)[..., None]
    mask[[0, -1]] = 0
    mask[:, [0, -1]] = 0
    return np.asarray(np.clip(picture, 0.01, 1), np.float32), mask


def _branches(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw the crown of a bare tree, from the middle of the lower edge upwards."""
    stencil = np.zeros((TILE, TILE), np.uint8)
    spread = rng.uniform(0.3, 0.55)
    stems = [(TILE / 2, TILE - 2.0, -np.pi / 2, TILE * rng.uniform(0.20, 0.27), 9.0)]
    for _ in range(8):
        following = []
        for x, y, turn, length, thick in stems:
            x1, y1 = x + np.cos(turn) * length, y + np.sin(turn) * length
            cv2.line(stencil, (round(x), round(y)), (round(x1), round(y1)), 255,
                     max(round(thick), 1))

            # Each branch forks in two or three, shorter and thinner.
            for _ in range(2 + (rng.random() < 0.45)):
                following.append((
                    x1, y1, turn + rng.normal(0, spread), length * rng.uniform(0.62, 0.92),
                    thick * 0.66))
        stems = following[:420]

    stencil[:2] = 0
    stencil[:, [0, 1, -2, -1]] = 0
    grain = 0.8 + 0.3 * noise(rng, TILE, 0.8)
    picture = np.repeat(np.clip(grain, 0.2, 1.6)[..., None], 3, 2) * 0.6
    return np.asarray(picture, np.float32), (stencil > 0).astype(np.float32)


def _railing(rng: np.random.Generator, kind: int) -> tuple[Floats, Floats]:
    """Draw a railing of upright bars, crossed wires, pales or rails between posts."""
    mask = np.zeros((TILE, TILE), np.float32)
    y, x = np.mgrid[0:TILE, 0:TILE]
    step = int(rng.choice([16, 20, 24]))
    if kind == 0:  # bars between two rails
        mask[(x % step) < step * 0.4] = 1
        mask[:18] = 0
        mask[18:30] = 1
        mask[222:236] = 1

    elif kind == 1:  # wire mesh
        mask[((x + y) % 16 < 5) | ((x - y) % 16 < 5)] = 1
        mask[:6] = 1
    elif kind == 2:  # pales of wood with pointed tops
        mask[((x % 32) < 22) & (y > np.abs(x % 32 - 11) * 1.6 + 4)] = 1
    else:  # two or three rails
        for rail in np.linspace(0.06, 0.66, int(rng.integers(2, 4))):
            mask[int(rail * TILE):int((rail + 0.2) * TILE)] = 1

    mask[:, :10] = 1  # the post
    shade = 0.9 + 0.12 * noise(rng, TILE, 0.8) - 0.15 * (x % step > step * 0.25)
    picture = np.repeat(np.clip(shade, 0.2, 1)[..., None], 3, 2)
    return np.asarray(picture, np.float32), mask


def _roof(rng: np.random.Generator) -> Floats:
    """Draw rows of slates or tiles with moss and repairs."""
    rows = int(rng.choice([8, 12, 16]))
    shade = 1 + 0.15 * noise(rng, TILE, 0.5) + 0.12 * noise(rng, TILE, 1.5)
    shade *= 0.75 + 0.25 * (np.arange(TILE) % rows > 2)[:, None]
    blocks = rng.normal(1, 0.10, (TILE // 8, TILE // 8)).astype(np.float32)
    shade *= cv2.resize(blocks, (TILE, TILE), interpolation=cv2.INTER_NEAREST)
    return np.repeat(np.clip(shade, 0.2, 1.4)[..., None], 3, 2).astype(np.float32) * 0.7


def _hoarding(rng: np.random.Generator) -> Floats:
    """Draw a sheet fence with posters."""
    picture = np.full((TILE, TILE, 3), 0.7, np.float32)
    picture *= (0.82 + 0.18 * np.cos(np.arange(TILE) * (np.pi / 4)))[None, :, None]
    for _ in range(int(rng.integers(0, 6))):
        x, y = rng.integers(0, TILE - 60, 2)
        w, h = rng.integers(20, 60, 2)
        picture[y:y + h, x:x + w] = rng.uniform(0.05, 0.9, 3)
    stain = 1 + 0.10 * noise(rng, TILE, 1.4)
    return np.asarray(np.clip(picture * stain[..., None], 0.02, 1), np.float32)
