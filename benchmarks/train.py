"""Training speed: the stock API's loop, tools/train.py, and the bare compute step, in turn in one run, on the same exams.

    python benchmarks/train.py --data RECORDS_1024 --data-small RECORDS_640 --pretrained CKPT --config ssd_mobilenet ssd_mobilenet_fpnlite
    python benchmarks/train.py … --what loops --variant "stem=--freeze stem" --variant "half=--precision bfloat16" --rounds 3

``--data`` is for the stock API, ``--data-small`` (``make_tfrecords --for CONFIG``) for ours; both hold the same exams. Every measurement is a
process of its own; config, batch size and checkpoint are the same, and rounds go forth and back, so that a machine that slows down slows all.

- ``loops``: ``stock`` is ``model_lib_v2.train_loop`` as ``model_main_tf2`` calls it, with its defaults; ``ours`` is tools/train.py without
  evaluation, and each ``--variant`` is the same with flags more; ``bare`` is model, gradients and update on one batch that never changes, as the
  stock loop builds them. Seconds are from the start of the process to the end of the first step; images/s are the median over windows of 20
  steps, the first of which is left out.
- ``parts``: where the stock loop's time goes, and its run without summaries of images.
- ``input``: the input pipelines alone, on one processor with one thread.
- ``evaluation``: the validation images, as ``eval_continuously`` evaluates them and as tools/train.py does between steps, same checkpoint.
"""

import argparse
import json
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import stock_loop
from google.protobuf import text_format

WHAT = ("loops", "parts", "input", "evaluation")

ZOO_AUGMENTATION = "data_augmentation_options { random_horizontal_flip { } } data_augmentation_options { ssd_random_crop { } }"
"""Of the zoo's SSDs, where the input pipeline alone is measured; the configs here leave augmentation to tools/train.py, so that the stock loop has none."""

COLUMNS = ("s to first step", "images/s", "of bare", "against stock", "peak MiB", "CPU s a step")

Outcomes = dict[str, list[dict[str, Any]]]
"""Name of a measurement -> the outcome of each round."""


def median(values: Iterable[float]) -> float:
    """Return the median; NaN of nothing."""
    values = list(values)
    return statistics.median(values) if values else float("nan")


def variant(text: str) -> tuple[str, list[str]]:
    """Read ``NAME=FLAGS``."""
    name, equals, flags = text.partition("=")
    if not equals or not name or name in ("stock", "ours", "bare", "stock without summaries"):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FLAGS with a name of its own")
    return name, shlex.split(flags)


def pipeline(config: str, batches: int, *, one_core: bool, data: str | None = None, augmentation: str | None = None) -> dict[str, Any]:
    """Time the input pipeline alone: the stock API's, or ours of a record set and with a preset of augmentation."""
    if one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tf, api, parsed, model = stock_loop.model_of(config, threads=1 if one_core else 0)
    count = stock_loop.WARM_UP + batches
    if data is None:
        source = stock_loop.input_of(api, parsed, model).repeat()
    else:
        from pneumodet.data import record_sets
        from pneumodet.models.detection import resizing
        from pneumodet.models.inputs import augmentation_settings, feeding

        records = record_sets.RecordSet.open(Path(data))
        feed = feeding.Feed(
            records.train.shards,
            size=resizing.of_config(parsed),
            classes=len(records.label_map),
            batch_size=parsed.train_config.batch_size,
            max_boxes=min(records.train.most_boxes, parsed.train_config.max_number_of_boxes),
            augmentation=augmentation_settings.load(augmentation),
            seed=0,
        )
        source = feed.batches(first_step=0, steps=count, parallel=1 if one_core else None)
    ready = iter(source)
    for _ in range(stock_loop.WARM_UP):
        next(ready)
    begin, cpu = time.perf_counter(), time.process_time()
    for _ in range(batches):
        next(ready)
    seconds = time.perf_counter() - begin
    images = batches * parsed.train_config.batch_size
    return {"images_per_second": images / seconds, "cpu": (time.process_time() - cpu) / batches, "batch_seconds": seconds / batches}


def validation(config: str, data: str, checkpoint: str) -> dict[str, Any]:
    """Time what tools/train.py does between steps, three times."""
    from pneumodet.core import logs

    logs.set_up(verbose=False)
    from pneumodet.data import record_sets
    from pneumodet.models.detection import checkpoints, models, pipeline_config
    from pneumodet.training.validation import Validation

    parsed = pipeline_config.load(config)
    records = record_sets.RecordSet.open(Path(data))
    model = models.build(parsed, is_training=True)
    checkpoints.restore({"model": model}, checkpoint, hint="")
    evaluation, marks, seconds = Validation(model, parsed, records.val), {}, []
    for _ in range(3):
        begin = time.time()
        evaluated = evaluation.run()
        seconds.append(time.time() - begin)
        marks.setdefault("evaluated", time.time())
    return {"marks": marks, "loops": seconds, "ap50": evaluated.figures["coco.pneumonia.AP50"]}


class Bench:
    """What is measured of one config, and where it is kept."""

    def __init__(self, args: argparse.Namespace, config: str, folder: Path) -> None:
        self._args, self._config, self._folder, self._number = args, config, folder, 0
        self.outcomes: Outcomes = {}

    def run(self) -> None:
        """Measure everything in turn; every second round goes backwards."""
        args = self._args
        plan: list[tuple[str, Callable[[], dict[str, Any]]]] = []
        if "loops" in args.what or "parts" in args.what:
            plan += [("stock", self._stock), ("bare", self._bare)]
        if "loops" in args.what:
            plan += [("ours", self._ours)]
            plan += [(name, lambda flags=flags: self._ours(flags)) for name, flags in args.variant]
        if "parts" in args.what:
            plan += [
                ("stock without summaries", lambda: self._stock(summaries=False)),
                ("input, all cores", lambda: self._input(one_core=False)),
            ]
        if "input" in args.what:
            plan += [
                ("stock input", self._input),
                ("stock input, zoo's augmentation", lambda: self._input(zoo=True)),
                ("our input, no augmentation", lambda: self._input(augmentation="none")),
                ("our input", lambda: self._input(augmentation="radiograph")),
            ]
        for number in range(args.rounds):
            for name, measure in plan if number % 2 == 0 else plan[::-1]:
                self._keep(name, measure())
            if "evaluation" in args.what:
                self._evaluations()

    def _keep(self, name: str, outcome: dict[str, Any]) -> None:
        self.outcomes.setdefault(name, []).append(outcome)
        print(f"{self._config}: {name}: {outcome['seconds']:.1f} s", file=sys.stderr, flush=True)

    def _new(self) -> Path:
        self._number += 1
        return self._folder / f"{self._number:03d}"

    def _resolved(self, folder: Path, *, steps: int, zoo: bool = False) -> str:
        def change(config: Any) -> None:
            if zoo:
                text_format.Merge(ZOO_AUGMENTATION, config.train_config)

        args = self._args
        return str(
            stock_loop.resolve(
                folder,
                config=self._config,
                data=args.data,
                pretrained=args.pretrained,
                steps=steps,
                batch_size=args.batch_size,
                settings=args.settings,
                change=change,
            )
        )

    def _stock(self, *, summaries: bool = True) -> dict[str, Any]:
        folder, iteration = self._new(), min(stock_loop.ITERATION, self._args.steps)
        spec = {"config": self._resolved(folder, steps=self._args.steps), "model_dir": str(folder / "model"), "summaries": summaries}
        return stock_loop.run("stock", {**spec, "iteration": iteration}, log=folder / "log.txt")

    def _ours(self, flags: Sequence[str] = (), *, steps: int | None = None) -> dict[str, Any]:
        args, folder = self._args, self._new()
        argv = ["--config", self._config, "--data", str(args.data_small), "--run", str(folder / "run"), "--evaluate-every", "0"]
        argv += ["--steps", str(steps or args.steps), "--batch-size", str(args.batch_size)]
        # what is not said is what suits the set; the stock loop has nothing of it
        argv += ["--pretrained", args.pretrained or "none", "--freeze", "none", "--no-fit-anchors", "--positive-share", "0"]
        argv += [part for setting in args.settings for part in ("--set", setting)]
        folder.mkdir()
        return stock_loop.run("ours", {"argv": [*argv, *flags]}, log=folder / "log.txt") | {"run": str(folder / "run")}

    def _bare(self) -> dict[str, Any]:
        folder = self._new()
        spec = {"config": self._resolved(folder, steps=self._args.steps), "steps": min(self._args.steps, self._args.bare_steps)}
        return stock_loop.run("bare", spec, log=folder / "log.txt")

    def _input(self, *, one_core: bool = True, zoo: bool = False, augmentation: str | None = None) -> dict[str, Any]:
        folder = self._new()
        spec = {"config": self._resolved(folder, steps=self._args.steps, zoo=zoo), "batches": self._args.batches, "one_core": one_core}
        if augmentation:
            spec |= {"data": str(self._args.data_small), "augmentation": augmentation}
        return stock_loop.run("pipeline", spec, log=folder / "log.txt", script=__file__)

    def _evaluations(self) -> None:
        if "ours" not in self.outcomes:  # a checkpoint that both can read
            self._keep("ours", self._ours(steps=stock_loop.WARM_UP))
        last = self.outcomes["ours"][-1]
        train = Path(last["run"]) / "train"
        folder = self._new()
        config = self._resolved(folder, steps=last["step"])
        spec = {"config": config, "checkpoint_dir": str(train), "model_dir": str(folder / "model"), "step": last["step"]}
        self._keep("stock evaluation", stock_loop.run("evaluate", spec, log=folder / "log.txt"))
        spec = {"config": config, "data": str(self._args.data_small), "checkpoint": str(train / f"ckpt-{last['step']}")}
        self._keep("our evaluation", stock_loop.run("validation", spec, log=folder / "log2.txt", script=__file__))


def loops_table(outcomes: Outcomes, names: Sequence[str], *, batch_size: int) -> list[str]:
    """Return the rows of the training loops and the bare step, medians over rounds."""
    floor = batch_size / median(one["steps"]["seconds"] for one in outcomes["bare"])
    rows = [f"| loop | {' | '.join(COLUMNS)} |", "| --- |" + " ---: |" * len(COLUMNS)]
    stock = None
    for name in names:
        runs = outcomes[name]
        rate = median(stock_loop.rate(one["stamps"], batch_size=batch_size) for one in runs)
        stock = stock or rate
        first = median(one["marks"]["first step"] - one["started"] for one in runs)
        mib, cpu = median(one["mib"] for one in runs), median(stock_loop.cpu_a_step(one["stamps"]) for one in runs)
        rows.append(f"| {name} | {first:.1f} | {rate:.2f} | {rate / floor:.1%} | {rate / stock:.2f} | {mib:.0f} | {cpu:.3f} |")
    mib, cpu = median(one["mib"] for one in outcomes["bare"]), median(one["steps"]["cpu"] for one in outcomes["bare"])
    rows.append(f"| bare step | | {floor:.2f} | 100.0% | {floor / stock:.2f} | {mib:.0f} | {cpu:.3f} |" if stock else "")
    return rows


def parts_tables(outcomes: Outcomes, *, batch_size: int) -> list[str]:
    """Return where the stock loop's time goes: of a step, and before the end of the first."""
    step, plain = (
        median(batch_size / stock_loop.rate(one["stamps"], batch_size=batch_size) for one in outcomes[name])
        for name in ("stock", "stock without summaries")
    )
    forward, whole = (median(one[key]["seconds"] for one in outcomes["bare"]) for key in ("forward", "steps"))
    reading = median(one["batch_seconds"] for one in outcomes["input, all cores"])
    parts = {
        "forward": forward,
        "backward and update": whole - forward,
        "summaries of images (stock less stock without them)": step - plain,
        "the rest: input competing for the processors, and the loop itself": plain - whole,
        "the whole step": step,
        "beside it: a batch from the input pipeline alone": reading,
    }
    rows = ["| of a stock step | ms | share |", "| --- | ---: | ---: |"]
    rows += [f"| {name} | {seconds * 1000:.0f} | {seconds / step:.1%} |" for name, seconds in parts.items()]

    def between(begin: str | None, end: str) -> float:
        return median(one["marks"][end] - (one["marks"][begin] if begin else one["started"]) for one in outcomes["stock"])

    traced, body = (median(of(one["tracing"]) for one in outcomes["stock"]) for of in (len, sum))
    start = {
        "imports": between(None, "imported"),
        "input pipeline, model and restoring": between("imported", "built"),
        "checkpoint of step 0": between("built", "saved"),
        f"tracing: {traced:.0f} passes of the step's Python": body,
        "the rest of tracing, optimizing the graph, first step": between("saved", "first step") - body,
        "to the end of the first step": between(None, "first step"),
    }
    total = start["to the end of the first step"]
    rows += ["", "| before the end of the first stock step | s | share |", "| --- | ---: | ---: |"]
    return rows + [f"| {name} | {seconds:.1f} | {seconds / total:.1%} |" for name, seconds in start.items()]


def input_table(outcomes: Outcomes) -> list[str]:
    """Return images/s of the pipelines alone."""
    names = [name for name in outcomes if "input" in name and "all cores" not in name]
    rates = {name: median(one["images_per_second"] for one in outcomes[name]) for name in names}
    rows = ["| one processor, one thread | images/s | against stock |", "| --- | ---: | ---: |"]
    return rows + [f"| {name} | {rate:.0f} | {rate / rates['stock input']:.2f} |" for name, rate in rates.items()]


def evaluation_table(outcomes: Outcomes) -> list[str]:
    """Return seconds of evaluation."""
    rows = ["| evaluation | s with process start | s, first | s, later | AP50 |", "| --- | ---: | ---: | ---: | ---: |"]
    for name in ("stock evaluation", "our evaluation"):
        runs = outcomes[name]
        whole = median(one["marks"]["evaluated"] - one["started"] for one in runs)
        first, later = median(one["loops"][0] for one in runs), median(median(one["loops"][1:]) for one in runs)
        ap50 = runs[-1]["ap50"]
        rows.append(f"| {name} | {whole:.1f} | {first:.1f} | {later:.1f} | {'' if ap50 is None else f'{ap50:.4f}'} |")
    return rows


def tables(outcomes: Outcomes, args: argparse.Namespace) -> str:
    """Return all tables as markdown."""
    parts: list[list[str]] = []
    if "loops" in args.what:
        parts.append(loops_table(outcomes, ["stock", "ours", *(name for name, _ in args.variant)], batch_size=args.batch_size))
    if "parts" in args.what:
        parts.append(parts_tables(outcomes, batch_size=args.batch_size))
    if "input" in args.what:
        parts.append(input_table(outcomes))
    if "evaluation" in args.what:
        parts.append(evaluation_table(outcomes))
    return "\n\n".join("\n".join(rows) for rows in parts)


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--data", type=Path, required=True, help="record set of whole images, for the stock API")
    add("--data-small", type=Path, required=True, help="record set of the same exams at model scale, for ours")
    add("--pretrained", metavar="CKPT", help="checkpoint that both start from (default: none)")
    add("--config", nargs="+", default=["ssd_mobilenet"], help="(default %(default)s)")
    add("--what", nargs="+", choices=WHAT, default=list(WHAT), help="(default: all)")
    add(
        "--variant",
        action="append",
        type=variant,
        default=[],
        metavar="NAME=FLAGS",
        help="ours with more flags of tools/train.py; repeatable",
    )
    add("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help="field of the config, for all; repeatable")
    add("--steps", type=int, default=200, help="of a loop; the stock one does whole hundreds (default %(default)s)")
    add("--bare-steps", type=int, default=40, help="(default %(default)s)")
    add("--batches", type=int, default=40, help="of the input pipelines (default %(default)s)")
    add("--batch-size", type=int, default=8, help="(default %(default)s)")
    add("--rounds", type=int, default=3, help="(default %(default)s)")
    add("--json", type=Path, metavar="FILE", help="everything that was measured, with the time of every step")
    add("--scratch", type=Path, default=Path(tempfile.gettempdir()), help="(default %(default)s)")
    return made


def main() -> None:
    """Measure and print."""
    args = parser().parse_args()
    everything = {}
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        for config in args.config:
            folder = Path(name) / Path(config).stem
            folder.mkdir()
            bench = Bench(args, config, folder)
            try:
                bench.run()
            finally:
                everything[config] = bench.outcomes
                if args.json:
                    args.json.write_text(json.dumps(everything), encoding="utf-8")
            about = f"batch {args.batch_size}, medians of {args.rounds} rounds, {os.cpu_count()} processors"
            print(f"## {config}: {about}\n\n{tables(bench.outcomes, args)}\n", flush=True)


if __name__ == "__main__" and not stock_loop.answer({"pipeline": pipeline, "validation": validation}):
    main()
