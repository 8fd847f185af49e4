# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The page of the reason codes: ``python -m mtl_perception.code_page > docs/codes.md``."""

from mtl_perception.reason_codes import ReasonCode


def as_markdown() -> str:
    """Return ``docs/codes.md``."""
    lines = [
        '# Reason codes', '',
        'A reason code stands in brackets in front of an error message, in the counters of the '
        'diagnostics (`dropped.CODE`, `warned.CODE`) and in the log. `mtl doctor CODE` shows one '
        'of them. This page is made by `python -m mtl_perception.code_page`.', '',
        '| code | meaning | usual cause | what to do |', '|---|---|---|---|']
    lines += [f'| `{code}` | {code.meaning} | {code.cause} | {code.cure} |' for code in ReasonCode]
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    print(as_markdown(), end='')
