"""What the pages of the site and the README show to be typed: shell commands and Python, with where they stand."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import act_eval

ROOT = Path(act_eval.__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
LANGUAGES = ("bash", "python", "text", "toml", "yaml")

_FENCE = re.compile(r"^```(.*)$")
_INLINE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
# What begins a command beside prose. A bare `act-eval` or `make` is a name there.
_PROGRAM = re.compile(
    r"(\w+=\S+ )*(python3? \S|(act-eval|make|pip|pytest|git|sudo|ssh|source|accelerate|docker|lerobot-\w+|mkdocs) \S"
    r"|scripts/[\w/]+\.py \S)"
)


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: str
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """A shell command, as it is written."""

    page: str
    line: int
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    opened: tuple[int, str] | None = None
    inside: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if fence and opened is None:
            opened, inside = (number, fence[1].strip()), []
        elif fence and opened:
            yield Block(name_of(page), *opened, "\n".join(inside) + "\n")
            opened = None
        elif opened:
            inside.append(line)
    assert opened is None, f"{page}:{opened}: a block that does not end"


def commands(page: Path) -> list[Command]:
    """Return the commands of a page: the lines of its `bash` blocks, and inline code that begins with a program."""
    return sorted({*_fenced(page), *_inline(page)}, key=lambda command: (command.line, command.text))


def name_of(page: Path) -> str:
    """Return how a page is called in messages and declarations."""
    return str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name


def _fenced(page: Path) -> Iterator[Command]:
    for block in blocks(page):
        if block.language == "bash":
            begun, number = "", block.line
            for offset, line in enumerate(block.text.splitlines(), 1):
                number = number if begun else block.line + offset
                begun += line.removesuffix("\\")
                if not line.endswith("\\"):
                    text = _without_comment(begun)
                    begun = ""
                    if text:
                        yield Command(block.page, number, text)


def _inline(page: Path) -> Iterator[Command]:
    inside = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        inside ^= bool(_FENCE.match(line))
        if not inside:
            for _, code in _INLINE.findall(line):
                if _PROGRAM.match(code):
                    text = code.replace("\\|", "|").strip()
                    yield Command(name_of(page), number, f"python {text}" if text.startswith("scripts/") else text)


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s)#.*$", "", line).strip()
