"""The fenced blocks of a page.

| fence | what is done with it |
|---|---|
| `console` | each line after `$ ` is run by bash; what stands below is what it prints |
| `http` | a request: method and path, headers, an empty line, a JSON body; the token is added |
| `mcp` | a tool and its arguments as JSON |
| `python` | run in order; the blocks of a page share their names |
| `python NAME.py` | saved as this file and imported; a test then uses what is in it |
| `json` | right below one of these: what it answered, laid out for reading; `json 202`: with this status |
| `json mcp` | a client's setting: it opens the MCP server |
| `output` | right below one of these: what it printed or answered, if that is no JSON |
| `text` | a drawing: nothing is done with it |

Ids in a page stand for those of the moment: `t-1f3` is what the first answer that shows it calls it; an id of
zeros is nobody's. `…` in what is expected stands for anything, on a line of its own for any lines, at the end
of a list for any more items, and as a key for any more keys.
"""

import re
from pathlib import Path
from typing import NamedTuple

RUN = {"console", "http", "mcp", "python"}
EXPECTED = {"json", "output"}
DRAWN = {"text"}

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    kind: str
    #: The rest of the fence's first line.
    words: tuple[str, ...]
    text: str
    #: Where it begins in its file.
    line: int
    #: Nothing but empty lines is between it and the block before.
    follows: bool


def read_blocks(page: Path) -> list[Block]:
    """All fenced blocks, in order."""
    content = page.read_text()
    blocks, end = [], 0
    for fence in _FENCE.finditer(content):
        kind, *words = fence["info"].split() or [""]
        between = content[end : fence.start()]
        line = content.count("\n", 0, fence.start()) + 1
        blocks.append(Block(kind, tuple(words), fence["text"], line, bool(end) and not between.strip()))
        end = fence.end()
    return blocks


def read_commands(block: Block) -> list[tuple[str, str]]:
    """Returns each command of a `console` block with the output below it."""
    commands, command, printed = [], "", ""
    for line in [*block.text.splitlines(), "$ "]:
        if command.endswith("\\"):
            command = command[:-1] + line.strip()
        elif line.startswith("$ "):
            if command:
                commands.append((command, printed))
            command, printed = line[2:], ""
        else:
            printed += line + "\n"
    return commands
