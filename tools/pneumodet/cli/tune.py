"""Search for the best optimizer, loss, learning rate, batch size, or any fields of a config, by short training runs."""

import argparse
from collections.abc import Sequence

from pneumodet.cli import console, train_flags
from pneumodet.core import invocation, progress
from pneumodet.training.tuning.study import METRICS, Plan

EPILOG = """examples:
  python tools/tune.py --config ssd_mobilenet --data workspace/records/rsna --study first --trials 20 --steps 1000
  python tools/tune.py --config ssd_mobilenet --data workspace/records/rsna --study second --trials 20 --steps 1000 \\
    --param learning_rate=1e-4:0.1:log --param train_config.batch_size=4,8,16 --param optimizer=sgd,adam \\
    --param model.ssd.loss.classification_loss.weighted_sigmoid_focal.alpha=0.25:0.75
  python tools/tune.py --config ssd_mobilenet --data workspace/records/rsna --study small --steps 500 --pretrained imagenet \\
    --freeze early --fit-anchors

--param NAME=VALUES, once for each thing to vary. NAME is a field's path, or one of
  learning_rate   the peak of the schedule         loss           focal, cross-entropy, cross-entropy-mined (SSD)
  batch_size      images a step                    augmentation   names or files, as in tools/train.py
  optimizer       sgd, adam, rmsprop; the rate must vary with it
VALUES is a range low:high (then :log, :int or :step=0.1), or a list with commas. Without any --param: optimizer, loss (SSD), learning_rate and
batch_size. The first trial has the config's own values.

The same command resumes a study that was stopped, until --trials are done. Trials lie in workspace/STUDY/trial-0000, -0001, …;
table.csv, best.json and report.png beside them."""

SHOWN = 20
"""Rows of the table on the terminal; table.csv has all."""


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("tune", __doc__, EPILOG)
    parser.add_argument("--config", required=True, help="name of a config in configs/, or path of a pipeline.config")
    parser.add_argument("--data", type=console.existing_dir, required=True, help="record set from make_tfrecords")
    parser.add_argument("--study", required=True, help="name of the study: its folder in workspace/")
    parser.add_argument(
        "--trials", type=console.positive_int, default=Plan.trials, help="how many there are to be in the end (default %(default)s)"
    )
    parser.add_argument("--steps", type=console.positive_int, required=True, help="of each trial")
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUES", help="what to vary; may be repeated; see below")
    parser.add_argument(
        "--metric",
        choices=METRICS,
        default=Plan.metric,
        help="on the validation records, made highest (default %(default)s)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="a field that is the same in all trials; may be repeated",
    )
    parser.add_argument("--pretrained", help="what every trial starts from, as in tools/train.py")
    train_flags.add_freezing(parser)
    train_flags.add_anchors(parser)
    train_flags.add_samples(parser)
    parser.add_argument("--evaluate-every", type=console.positive_int, metavar="STEPS", help="(default: five times a trial)")
    parser.add_argument(
        "--keep",
        type=console.whole_number,
        default=Plan.keep,
        help="so many of the best trials keep their checkpoints (default %(default)s)",
    )
    parser.add_argument(
        "--seed", type=console.whole_number, default=Plan.seed, help="of the proposals and of every training (default %(default)s)"
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Search, and show what came out."""
    from pneumodet.core import paths
    from pneumodet.training.tuning import search
    from pneumodet.training.tuning.report import BEST, LONGER, PICTURE, TABLE

    plan = search.Plan(
        folder=paths.run_dir(args.study),
        config=args.config,
        data=args.data,
        steps=args.steps,
        trials=args.trials,
        parameters=tuple(args.param),
        metric=args.metric,
        settings=tuple(args.settings),
        pretrained=args.pretrained,
        freeze=tuple(args.freeze or ()),
        fit_anchors=bool(args.fit_anchors),
        augmentation=args.augmentation,
        positive_share=args.positive_share,
        evaluate_every=args.evaluate_every,
        seed=args.seed,
        keep=args.keep,
    )
    console.say_where(args.study)
    with progress.bar(total=args.steps, unit="step") as bar:

        def show(number: int, step: int, steps: int) -> None:
            bar.set_description(f"trial {number}", refresh=False)
            bar.total = steps
            # a difference, which is negative where a new trial begins, so that the bar starts over
            bar.update(step - bar.n)

        def write(text: str) -> None:
            bar.write(invocation.spelled(text))

        outcome = search.search(plan, on_message=write, on_trial=lambda row: write(_line(row)), on_progress=show)
    _print_table(outcome, args.metric)
    best = outcome.best
    against = f" (the config's own values: {outcome.baseline.value:.4f})" if outcome.baseline else ""
    console.out(f"Best:    trial {best.number}, {args.metric} {best.value:.4f} at step {best.best_step}{against}")
    if outcome.importances:
        console.out(
            "Weight:  " + ", ".join(f"{name} {share:.0%}" for name, share in outcome.importances.items()) + " (PED-ANOVA importance)"
        )
    for note in outcome.notes:
        console.out(f"Note:    {note}")
    console.out(f"Written: {outcome.folder / TABLE}, {BEST}, {PICTURE}")
    console.out(
        f"Next:    {outcome.command}\n         (its --steps are {LONGER} times those of a trial: enough to compare trials is not enough to learn)"
    )


def _line(row) -> str:
    """Return a trial in one line."""
    value = "" if row.value is None else f"{row.value:.4f} at step {row.best_step}"
    values = _values(row)
    return f"trial {row.number:4d}  {row.state:9}{value:22}{row.seconds:7.0f} s  {values}" + (f"  {row.reason}" if row.reason else "")


def _values(row) -> str:
    shown = ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in row.values.items())
    return f"the config's own: {shown}".rstrip(": ") if row.baseline else shown


def _print_table(outcome, metric: str) -> None:
    from pneumodet.training.tuning.report import ranked

    first = ranked(outcome.rows)
    # trials that were stopped or failed have no rank, and stand below
    rest = [row for row in outcome.rows if row not in first]
    console.out(f"\n  {'trial':>5}  {'state':9}{metric:>22}{'step':>8}{'seconds':>9}  values")
    for row in (first + rest)[:SHOWN]:
        value = "" if row.value is None else f"{row.value:.4f}"
        seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
        step = "" if row.best_step is None else str(row.best_step)
        console.out(f"  {row.number:5d}  {row.state:9}{value:>22}{step:>8}{seconds:>9}  {_values(row)}")
    if len(outcome.rows) > SHOWN:
        console.out(f"  … and {len(outcome.rows) - SHOWN} more in table.csv")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
