# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small videos with exact times."""

from fractions import Fraction

import av
import numpy as np

EXACT = 'ffv1'
"""A codec that changes no pixel."""
PIXELS = {EXACT: 'bgr0', 'mjpeg': 'yuvj444p'}


def film(path, images, times=None, codec='', pixels='', **options):
    """
    Write a video.

    :param times: of the frames, milliseconds; 10 frames per second without them.
    :param codec: by default one that changes no pixel for mkv, mpeg4 for others.
    :param pixels: format of the pixels.
    """
    codec = codec or (EXACT if str(path).endswith('.mkv') else 'mpeg4')
    with av.open(str(path), 'w', options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels or PIXELS.get(codec, 'yuv420p')
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format='rgb24')
            frame.pts = 100 * number if times is None else times[number]
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
