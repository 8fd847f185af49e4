# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Facts about the documents: their Python runs, their commands exist, their links are good."""

import argparse
import ast
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import (
    NEEDS_ROS,
    PAGES,
    PROGRAMS,
    ROOT,
    Block,
    all_commands,
    blocks,
    commands,
    inline_commands,
)

from mtl_perception.cli import COMMANDS
from mtl_perception.errors import ConfigurationError
from mtl_perception.training.config import load_config
from mtl_perception.training.recipe import late_options

README = ROOT / 'README.md'
COMMANDS_THAT_NEED_ROS = {
    'README.md': 3, 'docs/deployment.md': 8, 'docs/nav2.md': 1, 'docs/node.md': 5,
    'docs/start.md': 10}
"""Commands that no test here runs: they need a ROS 2 installation."""

IN_CI = {'make demo', 'make demo SOURCE=my_video.mp4'}
"""``.ci/run`` runs the first, the tests of the demo the second as ``mtl demo --source``."""


def names(found):
    return [f'{command.page}:{command.line} {" ".join(command.words)[:60]}' for command in found]


def python_pages():
    return [page for page in PAGES if page.name != 'CONTRIBUTING.md'
            and any(block.language == 'python' for block in blocks(page))]


# Python


@pytest.mark.parametrize('page', python_pages(), ids=lambda page: page.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, monkeypatch, capsys):
    pytest.importorskip('torch')
    monkeypatch.chdir(ROOT)

    names = {}
    for block in blocks(page):
        if block.language == 'python' and not block.needs_lightning:
            run(block, page, names)


def run(block, page, names):
    # error messages name the page and the line
    code = '\n' * (block.line - 1) + block.text
    exec(compile(code, str(page), 'exec'), names)


def test_the_example_for_lightning_trains(monkeypatch, tmp_path):
    pytest.importorskip('lightning')
    monkeypatch.chdir(tmp_path)
    page = ROOT / 'docs/weighting.md'
    block, = [block for block in blocks(page) if block.needs_lightning]
    names = {}
    run(block, page, names)

    assert names['module'].weighting.updates.min() > 0


def test_a_strategy_trains_a_toy_in_ten_lines():
    page = ROOT / 'docs/weighting.md'
    block = next(block for block in blocks(page) if 'FAMO' in block.text)
    assert len([line for line in block.text.splitlines() if line.strip()]) <= 10

    names = {}
    run(block, page, names)

    assert names['errors'].max() < 2  # the noise alone is 1, without learning it is 10


def test_the_snippet_of_the_readme_gives_masks_and_metres_in_six_lines():
    snippet, = [block for block in blocks(README) if block.language == 'python']
    lines = [line for line in snippet.text.splitlines() if line.strip()]
    assert len(lines) <= 6

    done = subprocess.run(
        [sys.executable, '-c', snippet.text], cwd=ROOT, capture_output=True, text=True)
    metres = float(done.stdout.split()[0])
    assert 1 < metres < 10, done.stderr


def test_the_example_in_contributing_is_the_code_of_the_package():
    checked = 0
    for block in blocks(ROOT / 'CONTRIBUTING.md'):
        if block.language == 'python':
            first, _, text = block.text.partition('\n')
            source = (ROOT / first.removeprefix('# ')).read_text(encoding='utf-8')
            stored = {line.split('  #')[0].strip() for line in source.splitlines()}
            shown = {line.split('  #')[0].strip() for line in text.splitlines()}
            assert shown <= stored, shown - stored
            checked += 1

    assert checked == 3


# Commands


def parser_of(verb):
    parser = argparse.ArgumentParser(prog=f'mtl {verb}')
    importlib.import_module(
        f'mtl_perception.commands.{verb.replace("-", "_")}').add_arguments(parser)
    return parser


def options_of(verb):
    """Return every option of a verb, those of its subcommands too."""
    parsers = [parser_of(verb)]
    for action in parsers[0]._actions:
        if isinstance(action, argparse._SubParsersAction):
            parsers += action.choices.values()
    return {option for parser in parsers for option in parser._option_string_actions}


def check_mtl(words):
    verb, *rest = words
    assert verb in COMMANDS
    if rest == ['--print-schema']:
        return
    try:
        parsed = parser_of(verb).parse_args(rest)
    except SystemExit:
        raise AssertionError(f'mtl {verb} refuses {rest}') from None

    # a recipe of the repository must also take the settings that follow it
    for word in rest:
        if word.startswith('config/'):
            assert (ROOT / word).is_file(), word
    if verb == 'train' and (ROOT / parsed.recipe).is_file():
        train = importlib.import_module('mtl_perception.commands.train')
        load_config(ROOT / parsed.recipe, late_options(parsed, train._add_options))


def check_module(words):
    """Check ``-m MODULE OPTIONS``: the module is a program, and its file declares the options."""
    module, *rest = words
    found = importlib.util.find_spec(module)
    assert found is not None, module
    source = Path(found.origin).read_text(encoding='utf-8')
    if module == 'mtl_perception.cli':
        return check_mtl(rest)
    assert "__name__ == '__main__'" in source
    for word in rest:
        assert not word.startswith('--') or f"'{word}'" in source, word
    return None


def check_make(words):
    targets = [word for word in words if '=' not in word]
    variables = [word.split('=')[0] for word in words if '=' in word]
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')

    for target in targets:
        assert re.search(f'^{target}:', makefile, re.MULTILINE), target
    for variable in variables:
        assert re.search(rf'^{variable} \?=', makefile, re.MULTILINE), variable


def check_pip(words):
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    assert words[0] in ('install', 'download')
    for extra in re.findall(r'\[([\w,-]+)\]', ' '.join(words)):
        for name in extra.split(','):
            assert f"'{name}': " in setup, name


def launch_arguments(name='camera.launch.py'):
    """Return argument -> choices (or None) of a launch file, which imports ROS."""
    tree = ast.parse((ROOT / 'launch' / name).read_text(encoding='utf-8'))
    constants = {node.targets[0].id: node.value for node in tree.body
                 if isinstance(node, ast.Assign)}
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == 'DeclareLaunchArgument':
            keywords = {word.arg: word.value for word in node.keywords}
            choices = keywords.get('choices', ast.Constant(None))
            if isinstance(choices, ast.Name):
                choices = constants[choices.id]
            found[ast.literal_eval(node.args[0])] = ast.literal_eval(choices)
    return found


def check_ros2(words):
    if words[0] == 'security':
        assert words[1] in ('create_keystore', 'generate_artifacts')
        return
    if words[0] == 'run':
        assert (ROOT / 'scripts' / words[2]).is_file()
        return
    assert words[:2] == ('launch', 'mtl_perception')
    assert words[2] in ('camera.launch.py', 'nav2.launch.py')
    known = launch_arguments(words[2])
    for word in words[3:]:
        name, _, value = word.partition(':=')
        assert name in known
        assert known[name] is None or value in known[name]


CHECKS = {
    'mtl': check_mtl,
    'make': check_make,
    'pip': check_pip,
    'ros2': check_ros2,
}


def check(command):
    program, *rest = command.words
    if '-m' in command.words and 'mtl_perception.' in str(command):
        check_module(command.words[command.words.index('-m') + 1:])
    elif program in CHECKS:
        CHECKS[program](tuple(rest))
    else:
        assert program in (*PROGRAMS, '.')


@pytest.mark.parametrize('command', all_commands(), ids=names(all_commands()))
def test_every_command_of_the_documents_is_understood(command):
    check(command)


@pytest.mark.parametrize(('page', 'text'), inline_commands())
def test_every_verb_and_option_in_a_sentence_exists(page, text):
    _, verb, *rest = text.split()
    assert verb in COMMANDS
    used = {word.split('=')[0] for word in rest if word.startswith('--')}
    if verb not in ('train', 'train-motion'):
        assert used <= options_of(verb), f'{page}: {text}'


@pytest.mark.parametrize('line', [
    'mtl predict a.mp4 --ouput b.mp4', 'mtl evalute', 'mtl train config/train/stret.yaml',
    'mtl train config/train/street.yaml --optimizer.lr 1', 'make tests',
    'make demo SORCE=a.mp4', 'python -m mtl_perception.weighting.benchmark --round 3',
    "pip install '.[runtimes]'", 'ros2 launch mtl_perception camera.launch.py rviz:=yes',
    'brew install torch'])
def test_the_check_refuses_what_does_not_exist(line):
    command, = commands(Block('page', 1, 'bash', line))
    with pytest.raises((AssertionError, ConfigurationError)):
        check(command)


def test_commands_that_need_ros_are_marked_and_counted():
    marked = [command for command in all_commands() if command.needs_ros]
    counts = {page: sum(command.page == page for command in marked)
              for page in {command.page for command in marked}}
    assert counts == COMMANDS_THAT_NEED_ROS

    # ros2, rosdep and colcon stand in marked blocks only
    for command in all_commands():
        assert command.needs_ros or not {'ros2', 'rosdep', 'colcon'} & set(command.words)
    for page in PAGES:
        text = page.read_text(encoding='utf-8')
        assert text.count(NEEDS_ROS) == sum(block.needs_ros for block in blocks(page))


# The commands of the README, run


def installation():
    """Return the commands of the README that install the package, also for training."""
    clone, = [block for block in blocks(README) if 'git clone' in block.text]
    return commands(clone) + [
        command for command in all_commands() if command.page == 'README.md'
        and command.words[0] == 'pip' and command not in commands(clone)]


@pytest.fixture(scope='module')
def desk(tmp_path_factory):
    """Return a folder with what the commands of the README read: a video, and the recipes."""
    folder = tmp_path_factory.mktemp('desk')
    (folder / 'config').symlink_to(ROOT / 'config')
    return folder


SHORTER = {
    'train': ['--data.train_seeds', '0:1', '--data.validation_seeds', '10000:10001',
              '--data.plan.width', '96', '--data.plan.height', '64', '--data.plan.clips', '2',
              '--stages', '[{height: 64, width: 96, steps: 2, batch: 2}]'],
    'evaluate': ['--seeds', '20000:20001', '--frames', '1'],
    'predict': [],
}
"""Verb -> what follows the README's own words to make a run of minutes one of seconds."""


@pytest.mark.slow
def test_the_commands_of_the_readme_run(desk):
    pytest.importorskip('av')
    from mtl_perception import Street
    from mtl_perception.evaluation.video_writer import VideoWriter

    street = Street(seed=5, width=96, height=64, rate=10.0)
    with VideoWriter(desk / 'drive.mp4', 10.0) as video:
        for index in range(3):
            video.add(street.render(index).image)

    left = {str(command) for command in all_commands()
            if command.page == 'README.md' and not command.needs_ros} - IN_CI
    left -= {str(command) for command in installation()}

    for command in all_commands():
        if command.page == 'README.md' and command.words[0] == 'mtl':
            done = subprocess.run(
                [sys.executable, '-m', 'mtl_perception.cli', *command.words[1:],
                 *SHORTER[command.words[1]]],
                cwd=desk, env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True,
                text=True)
            assert done.returncode == 0, done.stderr
            left.discard(str(command))

    assert (desk / 'shown.mp4').is_file()
    assert not left, f'no test runs {left}'


@pytest.mark.slow
def test_the_installation_of_the_readme_runs(tmp_path):
    if not (ROOT / '.git').exists():
        pytest.skip('the sources are not a git repository, so they cannot be cloned')
    python = shutil.which('python3', path=str(Path(sys.executable).parent)) or sys.executable

    # Nothing is downloaded: pip resolves the extras of the clone, and installs nothing.
    script = '\n'.join(map(str, installation()))
    script = (script.replace('REPOSITORY', str(ROOT))
              .replace('python3 -m venv', f'{python} -m venv --without-pip')
              .replace('pip install', f'{python} -m pip install --dry-run --no-deps '
                       '--no-build-isolation'))
    done = subprocess.run(
        ['bash', '-euc', script], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall('Would install mtl[_-]perception-', done.stdout)) == 2


# Pages and links


def slug(heading):
    """Return the anchor that GitHub and MyST give a heading."""
    return re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-')


def anchors(page):
    text = re.sub(r'```.*?```', '', page.read_text(encoding='utf-8'), flags=re.DOTALL)
    return {slug(heading) for heading in re.findall(r'^#+ (.*)$', text, re.MULTILINE)}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page):
    text = re.sub(r'```.*?```', '', page.read_text(encoding='utf-8'), flags=re.DOTALL)
    for target in re.findall(r'\]\(([^)\s]+)\)', text):
        if '://' in target:
            continue
        name, _, anchor = target.partition('#')
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f'{page.name}: {target}'
        assert not anchor or anchor in anchors(path), f'{page.name}: {target}'


def test_the_readme_is_short_and_starts_with_a_picture():
    text = README.read_text(encoding='utf-8')
    words = re.sub(r'```.*?```', '', text, flags=re.DOTALL).split()
    assert len(words) <= 1000

    first = next(number for number, line in enumerate(text.splitlines(), 1) if line[:2] == '![')
    assert first <= 8


def test_every_page_is_linked_from_the_readme_or_another_page():
    linked = set()
    for page in PAGES:
        for target in re.findall(r'\]\(([^)\s#]+)', page.read_text(encoding='utf-8')):
            linked.add((page.parent / target).resolve())

    # they only include another page, for Sphinx
    shells = {'index.md', 'contributing.md'}
    assert not {page.name for page in PAGES if page not in linked} - shells - {'README.md'}


def test_the_api_reference_names_every_room():
    text = (ROOT / 'docs' / 'api.rst').read_text(encoding='utf-8')
    listed = set(re.findall(r'^   ~mtl_perception\.(\w+)$', text, re.MULTILINE))
    package = ROOT / 'mtl_perception'
    rooms = {path.stem for path in package.glob('*.py')} | {
        path.parent.name for path in package.glob('*/__init__.py')}
    assert listed == rooms - {'__init__'}


def test_contributing_names_every_room():
    text = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
    rooms = {path.parent.name for path in (ROOT / 'mtl_perception').glob('*/__init__.py')}
    assert {room for room in rooms if f'`{room}`' not in text} == set()


def test_the_changelog_has_a_dated_release_in_the_form_that_bloom_reads():
    changelog = pytest.importorskip('catkin_pkg.changelog')
    found = changelog.get_changelog_from_path(str(ROOT))
    versions = {version: date for version, date, _ in found.foreach_version()}

    from mtl_perception import __version__
    assert str(versions[__version__].date()) == '2026-11-28'
