# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a refused image says."""

import pytest

from mtl_perception.errors import FrameError


def code(call, *arguments):
    with pytest.raises(FrameError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert text.startswith(f'[{caught.value.code}] ')
    assert len(text) < 400
    assert '\n' not in text
    return caught.value.code
