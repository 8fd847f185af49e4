# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Who may import whom, and other rules that keep the house in order."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from readability import LONGEST_FILE, measure, shares, walls

from mtl_perception.cli import COMMANDS

PACKAGE = Path(__file__).parents[1] / 'mtl_perception'
VOCABULARY = {'errors', 'tasks', 'frames', 'manifest', 'image_codec', 'compressed_header',
              'preprocessing', 'postprocessing', 'instances', 'topics', 'colours',
              'cdr', 'code_page', 'files', 'image_range', 'middleware', 'reason_codes', 'signals',
              'name_checks', 'settings', 'parallel'}
PARTS = {'models', 'losses', 'weighting', 'datasets', 'synthetic', 'metrics', 'egomotion'}
STORES = {'bags', 'media'}
ASSEMBLIES = {'training', 'search', 'inference', 'evaluation'}
DOORS = {'ros', 'programs', 'cli', 'commands'}
ALLOWED = {
    **dict.fromkeys(VOCABULARY, VOCABULARY),
    **{room: VOCABULARY | {room} for room in STORES | PARTS},
    'datasets': VOCABULARY | {'media', 'datasets', 'synthetic'},
    'training': VOCABULARY | PARTS | {'training', 'inference'},
    'search': VOCABULARY | PARTS | {'training', 'search'},
    'inference': VOCABULARY | {'media', 'models', 'egomotion', 'inference'},
    'evaluation': VOCABULARY | PARTS | STORES | {'evaluation', 'inference'},
    'ros': VOCABULARY | {'media', 'ros', 'inference', 'synthetic'},
    'programs': {'middleware', 'ros', 'signals'},
    'cli': {'errors', 'signals'},
    'commands': (
        VOCABULARY | STORES | PARTS | ASSEMBLIES | {'commands'}),
}
TORCH = ('torch', 'torchvision', 'safetensors')
# third-party modules that a room must work without
FORBIDDEN = {
    **dict.fromkeys(VOCABULARY, ('torch', 'rclpy', 'sensor_msgs')),
    'media': ('torch', 'rclpy', 'sensor_msgs', 'av', 'PIL'),
    **dict.fromkeys(PARTS | ASSEMBLIES, ('rclpy', 'sensor_msgs')),
    'bags': ('torch', 'rclpy', 'sensor_msgs'),
    'inference': ('rclpy', 'sensor_msgs', 'pydantic'),
    'ros': ('pydantic', *TORCH),
    'synthetic': ('torch', 'rclpy', 'sensor_msgs'),
    'metrics': ('torch', 'rclpy', 'sensor_msgs'),
    'egomotion': ('torch', 'rclpy', 'sensor_msgs'),
    'programs': ('torch', 'rclpy', 'numpy', 'cv2'),
    'cli': ('torch', 'rclpy', 'numpy', 'cv2'),
    'commands': ('rclpy', 'sensor_msgs'),
}
FILES = sorted(PACKAGE.rglob('*.py'))


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported_rooms(source: str) -> set[str]:
    """Return the rooms of the package that a module imports, whatever the form."""
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, 'relative import'
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split('.')
            if parts[0] == 'mtl_perception' and len(parts) > 1 and parts[1] != '__version__':
                rooms.add(parts[1])
    return rooms


def test_every_room_has_a_place():
    rooms = {room_of(path) for path in FILES} - {'__init__'}
    assert rooms <= VOCABULARY | STORES | PARTS | ASSEMBLIES | DOORS


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_in_one_direction(path):
    if room_of(path) == '__init__':
        return
    found = imported_rooms(path.read_text())
    assert found <= ALLOWED[room_of(path)], f'{path.name} may not import {found}'


def test_the_direction_check_sees_every_form_of_import():
    source = ('import mtl_perception.ros.messages\nfrom mtl_perception import training\n'
              'def f():\n    from mtl_perception.models.fcn8 import Decoder\n')
    assert imported_rooms(source) == {'ros', 'training', 'models'}


def imported_files(source: str, names: set[str]) -> set[str]:
    """
    Return the files of the package that a module imports, at its top, in a function or for types.

    :param names: of all files, such as ``mtl_perception.ros.messages``.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f'{node.module}.{alias.name}'
                found.add(inner if inner in names else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & names


def import_circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of files of which each one imports every other one, over whatever way."""
    def reached_from(start: str) -> set[str]:
        reached: set[str] = set()
        waiting = [start]
        while waiting:
            new = imports[waiting.pop()] - reached
            reached |= new
            waiting += new
        return reached

    reach = {name: reached_from(name) for name in imports}
    circles = {
        tuple(sorted(other for other in reach[name] if name in reach[other]))
        for name in imports if name in reach[name]}
    return [list(circle) for circle in sorted(circles)]


def test_no_files_import_each_other_in_a_circle():
    names = {}
    for path in FILES:
        parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
        names['.'.join(parts).removesuffix('.__init__')] = path

    imports = {
        name: imported_files(path.read_text(), set(names)) for name, path in names.items()}

    assert sum(map(len, imports.values())) > 500  # the control: imports are found at all
    assert import_circles(imports) == []


def test_the_search_for_circles_finds_hidden_ones():
    sources = {
        'p.a': 'from p.b import thing',
        'p.b': 'def f():\n    from p import c',
        'p.c': 'if TYPE_CHECKING:\n    import p.a',
        'p.d': 'import p.a\nfrom p.d import itself',
        'p.e': 'from p.a import thing'}

    imports = {name: imported_files(text, set(sources)) for name, text in sources.items()}

    assert import_circles(imports) == [['p.a', 'p.b', 'p.c'], ['p.d']]


@pytest.mark.parametrize('room', sorted(FORBIDDEN))
def test_a_room_works_without_what_it_must_not_need(room):
    modules = sorted(
        '.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts)
        for path in FILES if room_of(path) == room)
    modules = [name.removesuffix('.__init__') for name in modules]
    code = ('import sys\n'
            f'for name in {FORBIDDEN[room]!r}: sys.modules[name] = None\n'
            'import importlib\n'
            f'for name in {modules!r}: importlib.import_module(name)\n')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


WITH_TORCH = {
    'commands': {'adapt', 'compare', 'describe', 'export', 'find_lr', 'finetune', 'plot', 'search',
                 'train', 'train_motion'},
    'evaluation': set(),
    'inference': {'captured_steps', 'cuda_graphs', 'device_copies', 'exact_fp32',
                  'motion_head_file', 'onnx_export', 'torch_engine', 'usual_pattern', 'weights'},
    'datasets': set(), 'ros': set(), 'synthetic': set(), 'media': set(), 'egomotion': set()}
"""Room -> its only files that may need torch; what a robot runs is in the others."""


@pytest.mark.parametrize('room', sorted(WITH_TORCH))
def test_only_training_and_the_engine_of_torch_need_torch(room):
    code = ('import sys\n'
            f'for name in {TORCH!r}: sys.modules[name] = None\n'
            'import importlib\n'
            f'for path in {sorted(path.stem for path in (PACKAGE / room).glob("*.py"))!r}:\n'
            f'    try: importlib.import_module("mtl_perception.{room}." + path)\n'
            '    except ModuleNotFoundError as error: print(path, error.name)\n')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = dict(line.split() for line in done.stdout.splitlines())
    assert set(found) == WITH_TORCH[room]
    assert set(found.values()) <= set(TORCH)


def test_each_verb_has_a_file_and_each_file_a_verb():
    files = {path.stem for path in (PACKAGE / 'commands').glob('*.py')
             if not path.stem.startswith('_')}
    assert files == {verb.replace('-', '_') for verb in COMMANDS}


def test_no_room_is_a_drawer():
    drawers = {'utils', 'util', 'common', 'core', 'helpers', 'misc'}
    assert not [path for path in FILES if path.stem in drawers or path.parent.name in drawers]


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_paragraphs_stay_short(path):
    source = path.read_text(encoding='utf-8')
    assert measure(source).code <= LONGEST_FILE
    assert [f'{body.name}, line {body.line}: {body.paragraph} lines of code in a row'
            for body in walls(source)] == []


def test_functions_have_blank_lines_and_comments():
    blank, comments = shares([path.read_text(encoding='utf-8') for path in FILES])
    assert blank >= 0.05
    assert comments >= 0.02


def test_the_count_finds_a_wall_and_leaves_a_paragraphed_body_alone():
    lines = [f'    x{number} = {number}' for number in range(16)]
    wall = '\n'.join(['def f():', '    """Text."""', *lines])
    assert [(body.name, body.code, body.paragraph) for body in walls(wall)] == [('f', 16, 16)]

    for pause in ('', '    # the second half'):
        paragraphs = '\n'.join(['def f():', *lines[:8], pause, *lines[8:]])
        assert walls(paragraphs) == []
    assert shares([wall]) == (0, 0)


def test_blank_lines_in_strings_and_docstrings_are_neither_code_nor_pauses():
    source = ('def f():\n    """\n    Text.\n\n    More.\n    """\n'
              '    x = """a\n\nb"""\n    return x\n')
    body, = measure(source).bodies
    assert (body.code, body.blank, body.comments, body.paragraph) == (4, 0, 0, 4)


def dangers(source: str) -> list[str]:
    """Return the calls that could run foreign code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name in ('eval', 'exec', 'yaml.load', 'pickle.load', 'pickle.loads', 'os.system'):
            found.append(name)
        if name == 'torch.load' and keywords.get('weights_only') != 'True':
            found.append('torch.load without weights_only=True')
        if keywords.get('shell') == 'True':
            found.append('shell=True')
    return found


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_can_run_foreign_code(path):
    assert dangers(path.read_text()) == []


def test_the_danger_check_finds_each_danger():
    source = ('eval("1")\nyaml.load(x)\ntorch.load(p)\ntorch.load(p, weights_only=False)\n'
              'subprocess.run(c, shell=True)\n')
    assert len(dangers(source)) == 5
