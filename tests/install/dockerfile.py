"""The Dockerfile as instructions, so that what it says can be done without an engine."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its name in capitals, and what follows."""

    name: str
    text: str


def instructions(path: Path) -> list[Instruction]:
    """Read all instructions, continued lines joined and comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n", " ", "\n".join(lines))
    found = [line.partition(" ") for line in whole.splitlines() if line.strip()]
    return [Instruction(name.upper(), " ".join(text.split())) for name, _, text in found]


def stages(path: Path) -> list[list[Instruction]]:
    """Cut instructions into stages; each begins with its FROM."""
    found: list[list[Instruction]] = []
    for instruction in instructions(path):
        if instruction.name == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found
