"""``pneumodet doctor``: what is installed, what works, and how to mend what does not."""

import argparse
import dataclasses
import json


def build_parser():
    """Return the command's parser."""
    from pneumodet.cli import console

    parser = console.Parser("doctor", "Show what is installed and what works, and for each fault the command that mends it.")
    parser.add_argument("--json", action="store_true", help="write the report as JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the report; return 2 where there is a fault."""
    from pneumodet import doctor

    checks = []
    for check in doctor.examine():
        checks.append(check)
        if not args.json:
            print(doctor.render_row(check), flush=True)
    faults = sum(check.state == doctor.FAULT for check in checks)
    if args.json:
        print(json.dumps({"faults": faults, "checks": [dataclasses.asdict(check) for check in checks]}, indent=2))
    else:
        print(f"\n{faults} fault{'s' if faults != 1 else ''} found." if faults else "\nAll works.")
    return 2 if faults else 0


def main(argv=None) -> int:
    """Run the command."""
    try:
        from pneumodet.cli import console
    except ModuleNotFoundError:  # absl: even the parser needs it, and this command has to run where it is missing
        return run(argparse.Namespace(json=False))
    return console.run(build_parser(), run, argv)
