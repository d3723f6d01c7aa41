"""The documents: which there are, their fenced blocks, and what stands between backticks."""

import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]

# What operators read. Every block of these is checked.
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

FENCE = re.compile(r"^(\s*)```(.*)$")


def read(path):
    return path.read_text(encoding="utf-8")


def is_blessed():
    return os.environ.get("UPDATE_EXPECT") == "1"


class Block:
    """A fenced block: its language, its text without indentation, and the line of its first line of text."""

    def __init__(self, document, line, language, indent, lines):
        self.document, self.line, self.language, self.indent = document, line, language, indent
        self.lines = [each.removeprefix(indent) for each in lines]

    @property
    def text(self):
        return "\n".join(self.lines) + "\n"

    def __str__(self):
        return f"{self.document.relative_to(ROOT)}:{self.line}: {self.language or 'a block without a language'}"


def blocks(document, text=None):
    """The fenced blocks of a document."""
    found, lines, opened = [], (text or read(document)).splitlines(), None
    for number, line in enumerate(lines, 1):
        fence = FENCE.match(line)
        if fence and opened is None:
            opened = (number + 1, fence[2].strip(), fence[1])
        elif fence and not fence[2]:
            first, language, indent = opened
            found.append(Block(document, first, language, indent, lines[first - 1 : number - 1]))
            opened = None
    assert opened is None, f"{document}:{opened[0] - 1}: the block is never closed"
    return found


def named_files():
    """The files that readers are told to write: the blocks whose first line is a comment with a path, all of a path."""
    found = {}
    for document in DOCUMENTS:
        for block in blocks(document):
            name = re.fullmatch(r"# ([\w./-]+\.yaml)", block.lines[0])
            if name:
                found.setdefault(name[1], []).append(block.text)
    return found


def replace(block, lines):
    """Writes other lines in the place of a block's. Blocks that follow must be read anew."""
    text = read(block.document).splitlines()
    first = block.line - 1
    text[first : first + len(block.lines)] = [(block.indent + line).rstrip() for line in lines]
    block.document.write_text("\n".join(text) + "\n", encoding="utf-8")


def prose(document):
    """The lines outside of fenced blocks, with their numbers."""
    inside = False
    for number, line in enumerate(read(document).splitlines(), 1):
        if FENCE.match(line):
            inside = not inside
        elif not inside:
            yield number, line


def quoted(document):
    """What stands between backticks in a document, with its line."""
    for number, line in prose(document):
        for found in re.findall(r"``(.+?)``|`([^`]+)`", line):
            yield number, found[0] or found[1]


def everywhere():
    """Every Markdown file of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.split()
    return [ROOT / name for name in listed if (ROOT / name).exists()] or [*ROOT.glob("*.md"), *DOCUMENTS[1:]]


def anchors(document):
    """What a link to a heading of the document may end in, as GitHub makes it of the heading's words."""
    found = set()
    for _, line in prose(document):
        heading = re.match(r"#+ (.*)", line)
        if heading:
            words = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading[1]).strip().lower()
            name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            count = sum(other == name or re.fullmatch(re.escape(name) + r"-\d+", other) is not None for other in found)
            found.add(f"{name}-{count}" if name in found else name)
    return found
