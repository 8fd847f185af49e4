# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sphinx: the pages of this folder, and an API reference made from the docstrings."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from mtl_perception import __version__  # noqa: E402

project = 'mtl_perception'
author = 'The mtl_perception authors'
copyright = f'2026, {author}'
release = __version__

extensions = [
    'myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.autosummary', 'sphinx.ext.mathjax']
templates_path = ['_templates']
exclude_patterns = ['_templates']
html_theme = 'furo'
html_static_path = ['_static']
html_css_files = ['wide.css']
html_title = f'mtl_perception {release}'
myst_heading_anchors = 3

add_module_names = False
autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'

# A role that leads nowhere is a warning. The types of signatures are not roles: those of other
# libraries, type variables, and the tables that mtl_perception.settings makes of data sets have
# no entry here.
nitpicky = True
nitpick_ignore_regex = [
    ('py:(class|obj)', r'(?!mtl_perception).*|.*\.(T|Kind|Item|Network|Annotated|Job|Tool|Result)'
                       r'|mtl_perception\.settings\.[A-Z][a-z]\w+')]
