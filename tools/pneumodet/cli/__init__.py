"""Commands: one module each, a parser and ``main(argv=None) -> int``, no logic."""

from pneumodet.core import signals

# here, since this is the first line that any command runs: what it imports next takes seconds, in which Ctrl-C is likely
signals.hide_interrupts()
