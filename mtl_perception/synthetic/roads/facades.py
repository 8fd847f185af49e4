# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Walls, facades and shop fronts of the look ``roads``."""

import cv2
import numpy as np

from mtl_perception.synthetic.textures import TILE, Floats, noise


def masonry(rng: np.random.Generator, kind: str) -> Floats:
    """
    Draw a wall without openings.

    :param kind: ``plaster``, ``brick``, ``stone`` or ``concrete``.
    """
    shade = 1 + 0.05 * noise(rng, TILE, 0.3) + 0.10 * noise(rng, TILE, 1.5)

    # Rain leaves streaks: noise that is stretched downwards.
    narrow = noise(rng, TILE, 0.8)[:6]
    streaks = cv2.resize(narrow, (TILE, TILE), interpolation=cv2.INTER_LINEAR)
    shade = shade + 0.06 * streaks
    wall = np.repeat(shade[..., None], 3, 2) * 0.8
    if kind in ('brick', 'stone'):
        high, long = (4, 10) if kind == 'brick' else (int(rng.integers(10, 22)), 32)
        rows = np.arange(TILE) // high
        tone = rng.normal(1, 0.16, (TILE // high + 1, TILE // long + 2, 1))
        tone = tone + rng.normal(0, 0.05, (*tone.shape[:2], 3))
        columns = (np.arange(TILE)[None] + (rows % 2)[:, None] * (long // 2)) // long
        wall = wall * np.clip(tone, 0.4, 1.6)[rows[:, None], columns]

        joint = np.arange(TILE) % high == 0
        wall[joint] *= 1.18 if kind == 'brick' else 0.6
    elif kind == 'concrete':
        wall[:, ::128] *= 0.5
        wall[-40:] *= 0.8
    return np.asarray(np.clip(wall, 0.03, 1), np.float32)


def timber(rng: np.random.Generator) -> Floats:
    """Draw a fence of upright boards."""
    board = int(rng.choice([12, 16, 22]))
    x = np.arange(TILE)
    tone = rng.normal(0.75, 0.10, TILE // board + 1)[x // board]
    grain = cv2.resize(noise(rng, TILE, 0.6)[:16], (TILE, TILE))
    picture = np.repeat((tone[None] + 0.07 * grain)[..., None], 3, 2)
    picture[:, x % board < 2] *= 0.35
    picture[-22:] *= 0.75
    return np.asarray(np.clip(picture, 0.03, 1), np.float32)


def _glass(rng: np.random.Generator, wide: int, high: int) -> Floats:
    """Draw a pane: dark, with a reflected sky above, curtains or things behind it."""
    slope = np.linspace(rng.uniform(0.05, 0.40), 0.03, high, dtype=np.float32)
    pane = np.repeat(np.repeat(slope[:, None, None], wide, 1), 3, 2)
    pane *= np.array([0.88, 1.0, 1.12], np.float32)
    what = rng.random()
    if what < 0.25:  # a blind
        pane[:int(high * rng.uniform(0.2, 0.8))] = rng.uniform(0.3, 0.7)
    elif what < 0.5:  # curtains
        side = max(int(wide * rng.uniform(0.1, 0.3)), 1)
        pane[:, :side] = pane[:, -side:] = rng.uniform(0.2, 0.6)
    elif what < 0.65:  # the mirror image of a building across the street
        pane[int(high * rng.uniform(0.2, 0.7)):] *= rng.uniform(0.2, 0.5)
    return pane


def _window(rng: np.random.Generator, wall: Floats, box: tuple[int, int, int, int],
            style: dict[str, float]) -> None:
    """Draw a window (left, top, width, height) with frame, bars, lintel and sill."""
    x, y, w, h = box
    edge = int(style['edge'])
    if style['lintel'] > 0:
        wall[y - edge - 7:y - edge, x - edge - 2:x + w + edge + 2] = style['lintel']
    wall[y - edge:y + h + edge, x - edge:x + w + edge] = style['frame']
    wall[y:y + h, x:x + w] = _glass(rng, w, h)

    # The reveal shades the top and one side.
    wall[y:y + 2, x:x + w] *= 0.3
    wall[y:y + h, x:x + 1] *= 0.4
    for bar in range(1, int(style['across'])):
        at = x + w * bar // int(style['across'])
        wall[y:y + h, at:at + 1 + (w > 30)] = style['frame']
    for bar in range(1, int(style['down'])):
        at = y + h * bar // int(style['down'])
        wall[at:at + 2, x:x + w] = style['frame']

    wall[y + h + edge:y + h + edge + 4, x - edge - 2:x + w + edge + 2] = style['sill']
    wall[y + h + edge + 4:y + h + edge + 7, x - edge - 1:x + w + edge + 1] *= 0.6


def facade(rng: np.random.Generator) -> Floats:
    """Draw three floors of windows: 12 m by 9 m."""
    wall = masonry(rng, str(rng.choice(['plaster', 'brick', 'stone'], p=[0.4, 0.45, 0.15])))
    bays = int(rng.integers(2, 7))
    wide = int(TILE / bays * rng.uniform(0.3, 0.66))
    style = {
        'edge': float(rng.integers(1, 4)), 'frame': float(rng.choice([0.95, 0.9, 0.25, 0.06])),
        'lintel': float(rng.choice([0, 0, 0.9, 0.6])), 'sill': float(rng.uniform(0.4, 0.95)),
        'across': float(rng.integers(1, 4)), 'down': float(rng.integers(1, 4))}
    if rng.random() < 0.4:  # bands between the floors
        for floor in range(3):
            wall[floor * TILE // 3:floor * TILE // 3 + 4] = rng.uniform(0.6, 1)

    for floor in range(3):
        tall = int(TILE / 3 * rng.uniform(0.42, 0.68))
        for bay in range(bays):
            if rng.random() < 0.06:  # bricked up
                continue
            x = int((bay + 0.5) * TILE / bays - wide / 2)
            y = int((floor + 0.52) * TILE / 3 - tall / 2)
            _window(rng, wall, (x, y, wide, min(tall, TILE // 3 - 22)), style)

    if rng.random() < 0.6:  # a drainpipe
        at = int(rng.integers(2, TILE - 6))
        wall[:, at:at + 3] = rng.choice([0.05, 0.1, 0.7])
    return np.asarray(np.clip(wall, 0.01, 1), np.float32)


def glass_front(rng: np.random.Generator) -> Floats:
    """Draw a front of glass or of window bands, as offices have."""
    wall = np.full((TILE, TILE, 3), rng.uniform(0.3, 0.9), np.float32)
    floors, bays = 3, int(rng.integers(6, 13))
    band = rng.uniform(0.55, 0.9)
    for floor in range(floors):
        y = floor * TILE // floors + 8
        high = int(TILE / floors * band)
        for bay in range(bays):
            x0, x1 = bay * TILE // bays + 1, (bay + 1) * TILE // bays - 1
            wall[y:y + high, x0:x1] = _glass(rng, x1 - x0, high) * rng.uniform(0.6, 1.6)
    return np.asarray(np.clip(wall, 0.01, 1), np.float32)


def shop(rng: np.random.Generator) -> Floats:
    """Draw a ground floor with shops: 9 m by 3.3 m."""
    wall = masonry(rng, str(rng.choice(['plaster', 'brick'])))
    x = int(rng.integers(0, 12))
    while x < TILE - 40:
        wide = min(int(rng.integers(60, 150)), TILE - 4 - x)
        if rng.random() < 0.75:
            _front(rng, wall, x, wide)
        else:  # a dwelling: a door and a window
            wall[95:TILE - 3, x + 4:x + 26] = rng.uniform(0.02, 0.5, 3)
            if wide > 70:
                style = {'edge': 2.0, 'frame': 0.9, 'lintel': 0.7, 'sill': 0.8, 'across': 2.0,
                         'down': 2.0}
                _window(rng, wall, (x + 36, 100, wide - 46, 80), style)
        x += wide + int(rng.integers(3, 12))
    wall[TILE - 8:] *= 0.5
    return np.asarray(np.clip(wall, 0.01, 1), np.float32)


def _front(rng: np.random.Generator, wall: Floats, x: int, wide: int) -> None:
    """Draw one shop: panes, what is on show, a fascia with lettering, perhaps an awning."""
    paint = rng.uniform(0.02, 0.6, 3) * rng.choice([0.3, 1.0])
    wall[40:, x:x + wide] = paint

    panes = max(wide // 45, 1)
    for pane in range(panes):
        x0, x1 = x + 4 + pane * wide // panes, x + (pane + 1) * wide // panes - 3
        y1 = TILE - 6 if rng.random() < 0.3 else TILE - int(rng.integers(18, 50))
        wall[82:y1, x0:x1] = _glass(rng, x1 - x0, y1 - 82) * 0.8

        # Goods and lamps behind the pane
        for _ in range(int(rng.integers(2, 9))):
            a, b = int(rng.integers(x0, x1)), int(rng.integers(100, y1))
            high, long = int(rng.integers(4, 26)), int(rng.integers(3, 14))
            wall[b:min(b + high, y1), a:min(a + long, x1)] = rng.uniform(0.02, 0.7, 3)

    # The fascia and its lettering
    board = rng.uniform(0.02, 0.9, 3) * rng.choice([0.25, 1.0])
    wall[44:76, x:x + wide] = board
    ink = 0.9 if board.mean() < 0.4 else 0.03

    at, stop = x + int(wide * 0.15), x + int(wide * rng.uniform(0.6, 0.9))
    while at < stop:
        letter = int(rng.integers(3, 8))
        top = 52 + int(rng.integers(0, 4))
        wall[top:68, at:at + 2] = ink
        wall[[top, top + 1, 60, 66], at:min(at + letter, x + wide)] = ink
        at += letter + 2

    if rng.random() < 0.25:
        stripes = (np.arange(wide) // 8 % 2)[:, None]
        wall[74:112, x:x + wide] = np.where(stripes, 0.85, rng.uniform(0.03, 0.6, 3))
        wall[112:124, x:x + wide] *= 0.4
