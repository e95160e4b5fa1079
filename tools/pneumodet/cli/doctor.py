"""``pneumodet doctor``: what is installed, what works, and how to fix what does not."""

import argparse
import json
from collections.abc import Sequence


def build_parser():
    """Return the command's parser."""
    # as in main: this module has to be importable where absl is missing
    from pneumodet.cli import console

    parser = console.Parser("doctor", "Show what is installed and what works, and for each error the command that fixes it.")
    parser.add_argument(
        "--extra",
        action="append",
        metavar="NAME",
        default=[],
        help="an extra that must be whole, such as train; again for more (default: what is installed)",
    )
    parser.add_argument("--json", action="store_true", help="write the report as JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the report; return 2 where there is an error."""
    from pneumodet.core import invocation, suggest
    from pneumodet.core.errors import ConfigError
    from pneumodet.doctor import extras, report
    from pneumodet.doctor.check import ERROR

    for name in args.extra:
        if name not in extras.names():
            raise ConfigError(f"There is no extra {name!r}. {suggest.sentence(name, extras.names())}")
    checks = []
    for check in report.examine(wanted=args.extra):
        checks.append(check)
        if not args.json:
            # as soon as it is known: the last checks import TensorFlow, which takes seconds
            print(invocation.spelled(check.row()), flush=True)  # without console: this runs where absl is missing
    errors = sum(check.state == ERROR for check in checks)
    if args.json:
        # the key is older than the word error, and scripts read it
        print(json.dumps({"faults": errors, "checks": [check.to_json() for check in checks]}, indent=2))
    else:
        print(f"\n{errors} error{'s' if errors != 1 else ''}." if errors else "\nAll works.")
    return 2 if errors else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    try:
        # not at the top of the module: console needs absl, which may be what is missing here
        from pneumodet.cli import console
    except ModuleNotFoundError:  # absl: even the parser needs it, and this command has to run where it is missing
        return run(argparse.Namespace(json=False, extra=[]))
    return console.run(build_parser(), run, argv)
