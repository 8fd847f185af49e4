# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A report as one self-contained page of HTML: no network, no scripts, no other files."""

import base64
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.report import Report
from mtl_perception.evaluation.rows import MetricRow, interval_text, value_text

JPEG_QUALITY = 88

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; margin: 2rem auto;
  max-width: 1100px; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .6rem; text-align: left;
  border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }
td.number { text-align: right; } td.quiet { color: #666; }
.confusion { font-size: 11px; } .confusion td { text-align: center; padding: .15rem .25rem;
  min-width: 2.2rem; border: 1px solid #eee; }
.confusion th { border: 0; padding: .15rem .3rem; } .confusion th.top { writing-mode: vertical-rl;
  transform: rotate(180deg); }
figure { margin: 1rem 0; } figure img { max-width: 100%; image-rendering: auto; }
figcaption { color: #444; font-size: 13px; margin-top: .3rem; }
"""


def as_page(report: Report) -> str:
    """
    Return a report as HTML.

    :return: one whole document; its pictures are inside as base64.
    """
    parts = [f'<h1>{escape(report.title)}</h1>']
    if report.facts:
        parts.append(_table(['', 'measured', ''], [
            [escape(name), escape(value), escape(remark)] for name, value, remark in report.facts
        ], (1,)))

    if rows := report.rows:
        head = ['', 'model', '95 % interval', 'image-blind baseline']
        cells = [[escape(row.name), value_text(row.value), interval_text(row.interval),
                  value_text(row.baseline), *([escape(row.target)] if report.targets else [])]
                 for row in rows]
        parts += ['<h2>Metrics</h2>', _table(
            [*head, *(['target'] if report.targets else [])], cells, (1, 2, 3))]
        parts += _bars(rows)
    parts += [f'<p>{escape(remark)}</p>' for remark in report.remarks]

    semantic = report.metrics.get('semantic')
    if semantic and 'confusion' in semantic:
        parts += ['<h2>Confusion of classes</h2>',
                  _confusion(list(semantic['iou']), np.array(semantic['confusion']))]

    if report.pictures:
        parts.append('<h2>Pictures</h2>')
        parts += [_figure(caption, picture) for caption, picture in report.pictures]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<title>{escape(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n'
        + '\n'.join(parts) + '\n</body>\n</html>\n')


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    """Return a table; the cells are HTML already."""
    lines = ['<table>', '<tr>' + ''.join(f'<th>{cell}</th>' for cell in head) + '</tr>']
    for row in rows:
        cells = ''.join(
            f'<td class="{"number" if place in numbers else "quiet"}">{cell}</td>' if place else
            f'<td>{cell}</td>' for place, cell in enumerate(row))
        lines.append(f'<tr>{cells}</tr>')
    return '\n'.join([*lines, '</table>'])


def _bars(rows: Sequence[MetricRow]) -> list[str]:
    """Return a bar chart of the metrics per class, with the baselines below the model's bars."""
    shown = [row for row in rows if row.value is not None and (
        row.name.startswith(('IoU ', 'box AP50 ', 'instance recall ', 'box recall ')))]
    if not shown:
        return []

    # pixels: where the bars begin, their full length, the height of a row
    left, width, line = 250, 560, 26
    parts = [
        '<h2>Per class</h2>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 60}" '
        f'height="{line * len(shown) + 30}" font-size="13" role="img" '
        'aria-label="metrics per class">']

    for share in (0, 0.25, 0.5, 0.75, 1):
        x = left + width * share
        parts.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="0" y2="{line * len(shown)}" '
                     'stroke="#ddd"/>'
                     f'<text x="{x:.0f}" y="{line * len(shown) + 18}" text-anchor="middle" '
                     f'fill="#666">{share:g}</text>')

    for place, row in enumerate(shown):
        assert row.value is not None
        y = place * line
        parts.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{escape(row.name)}'
                     f'</text><rect x="{left}" y="{y + 4}" width="{width * row.value:.1f}" '
                     'height="11" fill="#3b6ea5"/>')
        if row.baseline:
            parts.append(f'<rect x="{left}" y="{y + 16}" width="{width * row.baseline:.1f}" '
                         'height="4" fill="#bbb"/>')

        if row.interval is not None:
            low, high = (left + width * value for value in row.interval)
            parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + 9.5}" y2="{y + 9.5}" '
                         'stroke="#111" stroke-width="2"/>')
        parts.append(f'<text x="{left + width + 12}" y="{y + 14}" fill="#222">'
                     f'{value_text(row.value, 2)}</text>')

    parts.append('</svg>')
    parts.append(
        '<p>Blue: the model, black: its 95 % interval, grey: the image-blind baseline.</p>')
    return parts


def _confusion(classes: Sequence[str], confusion: NDArray[np.int64]) -> str:
    """Return a table of the shares of the predictions for each true class, in per cent."""
    head = ''.join(f'<th class="top">{escape(name)}</th>' for name in [*classes, 'no class'])
    lines = ['<table class="confusion">', f'<tr><th>true \\ predicted</th>{head}</tr>']
    for name, row in zip(classes, confusion):
        total = int(row.sum())
        cells = []

        # darker blue for a larger share of the class
        for value in row:
            share = value / total if total else 0
            shade = round(255 - 175 * share)
            text = f'{100 * share:.0f}' if share >= 0.005 else ''
            cells.append(f'<td style="background:rgb({shade},{shade + (255 - shade) // 3},255)">'
                         f'{text if total else "n/a"}</td>')
        lines.append(f'<tr><th>{escape(name)}</th>{"".join(cells)}</tr>')
    lines += ['</table>', '<p>Per cent of the pixels of each true class; n/a: it never occurs.'
              '</p>']
    return '\n'.join(lines)


def _figure(caption: str, picture: NDArray[np.uint8]) -> str:
    """Return a picture with its caption."""
    done, content = cv2.imencode(
        '.jpg', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    data = base64.b64encode(content.tobytes()).decode('ascii')
    return (f'<figure><img alt="{escape(caption)}" src="data:image/jpeg;base64,{data}">'
            f'<figcaption>{escape(caption)}</figcaption></figure>')
