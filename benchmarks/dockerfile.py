"""The Dockerfile and .dockerignore, read as an engine reads them: what ``docker_steps`` carries out, and what the tests compare with the checkout.

for instruction in instructions(text):
    instruction.keyword, instruction.arguments
"""

import dataclasses
import fnmatch
import json
import re

KEYWORDS = ("FROM", "ARG", "SHELL", "RUN", "WORKDIR", "COPY", "ENV", "USER", "VOLUME", "EXPOSE", "CMD")
"""What the Dockerfile may use; another instruction has to be added to ``docker_steps`` first."""


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
      keyword: such as ``RUN``.
      arguments: the rest of it, continuation lines joined.
    """

    keyword: str
    arguments: str = ""

    def words(self) -> list[str]:
        """Return the arguments of a JSON list, or those between blanks."""
        if not self.arguments.startswith("["):
            return self.arguments.split()
        words = json.loads(self.arguments)
        if not all(isinstance(word, str) for word in words):
            raise ValueError(f"{self.keyword} {self.arguments}: a list of texts is needed")
        return words

    def pairs(self, variables: dict[str, str]) -> dict[str, str]:
        """Return name -> value of ``ENV A=1 B=2``, with ``$NAME`` and ``${NAME}`` replaced by what ``variables`` say."""
        named = dict(word.split("=", 1) for word in self.arguments.split())
        return {name: re.sub(r"\$\{?(\w+)\}?", lambda found: variables.get(found[1], ""), value) for name, value in named.items()}


def instructions(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile, comments left out.

    Raises:
      ValueError: one of them is not in ``KEYWORDS``.
    """
    lines = [line.rstrip() for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    read = [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]
    for one in read:
        if one.keyword not in KEYWORDS:
            raise ValueError(f"The Dockerfile has the instruction {one.keyword}; known are {', '.join(KEYWORDS)}.")
    return read


def ignored(path: str, dockerignore: str) -> bool:
    """Return whether the text of a .dockerignore keeps ``path`` from the engine: the last pattern that fits it or a parent decides."""
    decision = False
    for line in dockerignore.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keep = pattern.startswith("!")
        pattern = pattern.lstrip("!")
        parts = path.split("/")
        prefixes = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        if pattern.startswith("**/"):
            fits = any(fnmatch.fnmatch(part, pattern[3:]) for part in parts)
        else:
            fits = any(fnmatch.fnmatch(prefix, pattern) and prefix.count("/") == pattern.count("/") for prefix in prefixes)
        if fits:
            decision = not keep
    return decision
