"""Commands: one module each, a parser and ``main(argv=None) -> int``, no logic."""
