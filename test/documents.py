# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Read the commands and the Python blocks of the documents."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *(ROOT / 'docs').glob('*.md')])

NEEDS_ROS = '<!-- needs: ros -->'
"""Stands above a block of commands that need a ROS 2 installation."""
NEEDS_LIGHTNING = '<!-- needs: lightning -->'
"""Stands above a block of Python that needs Lightning."""

PROGRAMS = (
    'cd', 'docker', 'export', 'git', 'make', 'mtl', 'pip', 'pytest', 'python', 'python3', 'ros2',
    'rosdep', 'srun', 'tensorboard', 'torchrun')


@dataclass(frozen=True)
class Block:
    """A fenced or indented block of a page; ``line`` is that of its first line."""

    page: str
    line: int
    language: str
    text: str
    needs_ros: bool = False
    needs_lightning: bool = False


@dataclass(frozen=True)
class Command:
    """One command line, without its comment."""

    page: str
    line: int
    words: tuple[str, ...]
    needs_ros: bool = False

    def __str__(self) -> str:
        return shlex.join(self.words)


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, and the indented ones with the language ''."""
    found = []
    lines = page.read_text(encoding='utf-8').splitlines()
    name = str(page.relative_to(ROOT))
    number = 0
    while number < len(lines):
        fence = re.fullmatch(r'```(\w*)', lines[number])
        if fence is not None or lines[number].startswith('```{'):
            end = lines.index('```', number + 1)
            above = lines[number - 1] if number else ''
            found.append(Block(
                name, number + 2, fence[1] if fence else 'directive',
                '\n'.join(lines[number + 1:end]), above == NEEDS_ROS, above == NEEDS_LIGHTNING))
            number = end + 1

        elif lines[number].startswith('    ') and not lines[number - 1].strip():
            end = number
            while end < len(lines) and lines[end].startswith('    '):
                end += 1
            found.append(Block(name, number + 1, '', '\n'.join(
                line[4:] for line in lines[number:end])))
            number = end
        else:
            number += 1
    return found


def commands(block: Block) -> list[Command]:
    """
    Return the commands of a block of shell lines.

    What follows two spaces is an explanation. ``<this repository>`` stands for an address.
    """
    found = []
    text = re.sub(r'\\\n\s*', '', block.text)
    for offset, line in enumerate(text.splitlines()):
        line = re.split(r'\s{2,}', line.strip())[0]
        words = shlex.split(line.replace('<this repository>', 'REPOSITORY'), comments=True)

        # `a && b` are two commands, `a > file` is one.
        while words:
            end = words.index('&&') if '&&' in words else len(words)
            command = words[:end]
            words = words[end + 1:]
            if '>' in command:
                command = command[:command.index('>')]
            found.append(Command(
                block.page, block.line + offset, tuple(command), block.needs_ros))
    return found


def all_commands() -> list[Command]:
    """Return the commands of all pages: of bash blocks, and of indented blocks of commands."""
    return [
        command for page in PAGES for block in blocks(page)
        if block.language == 'bash'
        or (block.language == '' and block.text.split()[0] in PROGRAMS)
        for command in commands(block)]


def inline_commands() -> list[tuple[str, str]]:
    """Return (page, text) of each ``mtl ...`` that stands in a sentence."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding='utf-8')
        for command in re.findall(r'(?<!`)`(mtl [a-z][^`]*)`(?!`)', text):
            found.append((str(page.relative_to(ROOT)), command))
    return found
