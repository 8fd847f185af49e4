# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures and videos as real cameras, phones and programs leave them."""

import struct
import zlib

import av
import cv2
import numpy as np

HEIGHT, WIDTH = 24, 40


def scene(number, height=HEIGHT, width=WIDTH):
    """Return an RGB picture; no two numbers and no two orientations give the same one."""
    rows, columns = np.indices((height, width))
    red = 255 * rows // height
    green = 255 * columns // width
    image = np.stack([red, green, np.full_like(red, 37 * number % 256)], axis=-1)
    image[:height // 2, :width // 2, 2] = 255 - image[0, 0, 2]
    return image.astype(np.uint8)


def save(path, image, *options):
    """Write an RGB, RGBA or grey picture of 8 or 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = {2: slice(None), 3: [2, 1, 0], 4: [2, 1, 0, 3]}
    values = image if image.ndim == 2 else image[..., order[image.shape[2]]]
    if path.suffix.lower() == '.webp' and not options:
        options = (cv2.IMWRITE_WEBP_QUALITY, 101)  # lossless
    done, content = cv2.imencode(path.suffix.lower(), np.ascontiguousarray(values), options)
    assert done
    path.write_bytes(content.tobytes())
    return path


def exif(orientation):
    """Return EXIF data that hold an orientation alone."""
    return b'MM' + struct.pack('>HIHHHIHHI', 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def turn_jpeg(path, orientation):
    """Give a JPEG file an orientation."""
    content = path.read_bytes()
    body = b'Exif\0\0' + exif(orientation)
    path.write_bytes(
        content[:2] + b'\xff\xe1' + struct.pack('>H', len(body) + 2) + body + content[2:])
    return path


def turn_png(path, orientation):
    """Give a PNG file an orientation."""
    content = path.read_bytes()
    chunk = b'eXIf' + exif(orientation)
    place = content.index(b'IDAT') - 4
    path.write_bytes(content[:place] + struct.pack('>I', len(chunk) - 4) + chunk
                     + struct.pack('>I', zlib.crc32(chunk)) + content[place:])
    return path


def upright(image, orientation):
    """Return what a viewer shows of stored pixels with an EXIF orientation."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return image[::rows, ::columns]


def cut_by_edit_list(source, path, seconds):
    """Copy the packets of a video; an edit list hides what comes before a time."""
    with av.open(str(source)) as old, av.open(str(path), 'w') as new:
        stream = old.streams.video[0]
        copied = new.add_stream_from_template(stream)
        shift = round(seconds / stream.time_base)
        for packet in old.demux(stream):
            if packet.dts is not None:
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = copied
                new.mux(packet)
    return path


def turn_film(path, matrix):
    """
    Give an mp4 file a display matrix.

    :param matrix: a, b, c, d of x' = a x + c y, y' = b x + d y.
    """
    content = bytearray(path.read_bytes())
    place = content.index(b'tkhd') + 44  # of ISO 14496-12, 8.3.2
    a, b, c, d = (0x10000 * value for value in matrix)
    content[place:place + 36] = struct.pack('>9i', a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path
