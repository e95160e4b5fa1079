"""One line of the doctor's report: what was checked, whether it works, and what fixes it.

check = Check("numpy", ERROR, "not installed", "pip install numpy")
check.row()                              # two lines of text; the second says how to fix it
"""

import dataclasses

OK, INFO, ERROR = "ok", "info", "ERROR"
"""States of a check: works; good to know, nothing depends on it; something that pneumodet needs does not work."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
      name: what was checked.
      state: ``OK``, ``INFO`` or ``ERROR``.
      result: a version, a list or a sentence.
      fix: for an error, the command or step that fixes it.
    """

    name: str
    state: str
    result: str
    fix: str = ""

    def row(self) -> str:
        """Return one line: state, name, result; an error has a second line with what fixes it."""
        row = f"{self.state:<5}  {self.name:<26}  {self.result}"
        return row + (f"\n{'':<5}  {'to fix it':<26}  {self.fix}" if self.fix else "")

    def to_json(self) -> dict[str, str]:
        """Return the check by the names that ``--json`` has had since the first release, which scripts read."""
        return {"name": self.name, "state": "FAULT" if self.state == ERROR else self.state, "found": self.result, "mend": self.fix}
