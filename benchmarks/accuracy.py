"""Accuracy on real radiographs at equal wall time: the zoo's recipe by the stock API against tools/train.py, grouped 3-fold by patient.

    python benchmarks/accuracy.py --sample SHARED/rsna_sample --pretrained CKPT --out FOLDER --minutes 10 --variants stock stock_0.005 ours
    python benchmarks/accuracy.py … --variants stock_0.005 ours ours-no-augmentation ours-newest --define more.json      # an ablation
    python benchmarks/accuracy.py … --only-judge

On a machine that is never idle: ``--steps`` gives every variant so many, and the table has the processor time that they took.
On one that is not idle for hours: measure with ``--only-probe`` while it is, and train with ``--untimed`` when it is not. A run then has the
steps for which the wall time would have sufficed.

``--sample`` has stage_2_train_images, the two CSVs and rsna_to_nih.csv, exam -> NIH patient. Of each fold the exams of the other two are split by
patient once more: a variant trains on the larger part, and all that is chosen (the best checkpoint, the score threshold) is chosen on the smaller,
the inner validation. The fold itself is used once, at the end.

Each variant has the same wall time a fold, from the start of the process to the end of training, in-loop evaluation included, and is stopped after
it. Its steps, and so its learning-rate schedule, are chosen to fill nine tenths of that, by a short run that is measured first. The stock loop saves
every 100 steps, and is ended early only where weights are not finite any more; its newest checkpoint is evaluated, as the recipe has no other choice.
``stock`` is the zoo's recipe with its learning rate scaled linearly to batch 8; ``stock_0.005`` the same at 0.005 and with gradients clipped at 10,
which stays finite. ``chosen`` is, for each fold, the one of our variants that was best on the fold's inner validation.

Everything lies in ``--out``: what is done is not done again. Written are accuracy.md and accuracy.json. ``--define`` adds variants:
{"ours-half": {"flags": ["--freeze", "stem"]}, "stock_0.01": {"stock": true, "rate": 0.01, "clip": 10}, "newest": {"of": "ours", "newest": true}}.
A variant of another one's runs is evaluated with the newest checkpoint, or under other settings of the config ("detect").
"""

import argparse
import csv
import dataclasses
import functools
import itertools
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fold_evaluation
import numpy as np
import stock_loop

from pneumodet.core import paths
from pneumodet.models.detection import pipeline_config, recipes

BATCH_SIZE = 8

FILLED = 0.9
"""Share of the wall time that the steps are planned for."""

PROBE_STEPS = 200
"""Of the short run that is measured first."""

PROBE_EVALUATIONS, EVALUATIONS = 2, 10
"""Evaluations of the short run, and of a run."""

RUN, DONE, PROBE = "run", "done.json", "probe.json"

OUTER, INNER = "outer", "inner"

SUPPRESSION = "model.ssd.post_processing.batch_non_max_suppression.iou_threshold=0.6"
"""The zoo's."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """A recipe.

    Attributes:
      stock: by the stock API, from the zoo's config; otherwise by tools/train.py.
      rate: peak learning rate of a stock recipe; the zoo's, scaled, where it is None.
      clip: gradients' norm of a stock recipe.
      flags: of tools/train.py.
      of: the variant whose runs are evaluated; its own where it is empty.
      newest: evaluate the newest checkpoint, not the best.
      detect: settings of the config under which it detects, in place of those that it was trained with.
      among: of each fold, the runs of that one of these are evaluated that has the highest RSNA metric on inner validation.
    """

    stock: bool = False
    rate: float | None = None
    clip: float = 0.0
    flags: tuple[str, ...] = ()
    of: str = ""
    newest: bool = False
    detect: tuple[str, ...] = ()
    among: tuple[str, ...] = ()


GIOU = tuple(
    word
    for setting in (
        "loss.localization_loss={weighted_giou {}}",
        "loss.localization_weight=8",
        "matcher.argmax_matcher.matched_threshold=0.4",
        "matcher.argmax_matcher.unmatched_threshold=0.4",
    )
    for word in ("--set", f"model.ssd.{setting}")
)

FREEZE, ANCHORS, BALANCE = ("--freeze", "early"), ("--fit-anchors",), ("--positive-share", "0.5")
"""Said always: where nothing is said train.py takes what suits the set."""

VARIANTS = {
    "stock": Variant(stock=True),
    "stock_0.005": Variant(stock=True, rate=0.005, clip=10.0),
    "ours": Variant(flags=(*FREEZE, *ANCHORS, *BALANCE)),
    "ours-all-layers": Variant(flags=("--freeze", "none", *ANCHORS, *BALANCE)),
    "ours-zoo-anchors": Variant(flags=(*FREEZE, "--no-fit-anchors", *BALANCE)),
    "ours-no-augmentation": Variant(flags=(*FREEZE, *ANCHORS, *BALANCE, "--augmentation", "none")),
    "ours-with-flip": Variant(flags=(*FREEZE, *ANCHORS, *BALANCE, "--augmentation", "radiograph-flip")),
    "ours-as-recorded": Variant(flags=(*FREEZE, *ANCHORS, "--positive-share", "0")),
    "ours-no-clipping": Variant(flags=(*FREEZE, *ANCHORS, *BALANCE, "--set", "train_config.gradient_clipping_by_norm=0")),
    "ours-newest": Variant(of="ours", newest=True),
    "ours-zoo-suppression": Variant(of="ours", detect=(SUPPRESSION,)),
    "ours-giou": Variant(flags=(*FREEZE, *ANCHORS, *BALANCE, *GIOU)),
}
"""Name -> recipe; each of the ablations has one thing otherwise."""


class Study:
    """Records, runs and evaluations in one folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args, self.out, self._variants = args, args.out, VARIANTS | args.define
        self.out.mkdir(parents=True, exist_ok=True)
        settings = {
            name: str(getattr(args, name))
            for name in ("config", "folds", "minutes", "seed", "inner_fraction", "pretrained", "settings", "steps")
        }
        about = self.out / "study.json"
        if about.exists() and _read(about) != settings:
            sys.exit(f"{self.out} has a study with other settings ({about}). Choose another --out.")
        paths.write_json(about, settings)

    def run(self) -> None:
        """Make records, train what is not trained yet, and detect."""
        self._records()
        for fold, name in itertools.product(range(self._args.folds), self._args.variants):
            if not self._args.only_judge and not self._variants[name].among:
                self._train(self._base(name, fold), fold)
            base = self._base(name, fold)
            if base and (self._folder(base, fold) / DONE).exists():
                self._detect(name, base, fold)

    def _base(self, name: str, fold: int) -> str | None:
        """Return the variant whose run is evaluated; None where it is to be chosen among some that are not all there."""
        among = self._variants[name].among
        sweeps = {one: self._folder(one, fold) / f"{INNER}.json" for one in among}
        if not all(path.exists() for path in sweeps.values()):
            return None
        truth = _instances(self._data(fold, "whole"), "val") if among else {}
        values = {one: fold_evaluation.choose(truth, _read(path))[1]["rsna_metric"] or 0.0 for one, path in sweeps.items()}
        return max(values, key=values.get) if among else self._variants[name].of or name

    def _records(self) -> None:
        sample, out = self._args.sample, self.out / "records"
        labels = sample / "stage_2_train_labels.csv"
        _make_records(sample, labels, out / "folds", "--folds", self._args.folds, "--seed", self._args.seed)
        for fold in range(self._args.folds):
            part = out / f"train-{fold}.csv"
            there = {image["file_name"] for image in _instances(out / "folds" / f"fold-{fold}", "train")["images"]}
            with labels.open(newline="", encoding="utf-8") as read, part.open("w", newline="", encoding="utf-8") as write:
                header, *rows = csv.reader(read)
                csv.writer(write).writerows([header, *(row for row in rows if row[0] in there)])
            for name, more in (("whole", ()), ("small", ("--for", self._args.config))):
                split = ("--val-fraction", self._args.inner_fraction, "--seed", self._args.seed)
                _make_records(sample, part, self._data(fold, name), *split, *more)

    def _data(self, fold: int, name: str) -> Path:
        return self.out / "records" / f"inner-{fold}-{name}"

    def _folder(self, name: str, fold: int) -> Path:
        return self.out / "runs" / name / f"fold-{fold}"

    def _train(self, name: str, fold: int) -> None:
        folder = self._folder(name, fold)
        if (folder / DONE).exists():
            return
        if self._args.steps:
            self._finish(name, fold, self._args.steps, seconds=None)
            return
        seconds = self._args.minutes * 60
        probe = self.out / "runs" / name / PROBE
        if not probe.exists():
            steps = self._args.probe_steps
            trained = self._process(name, fold, probe.parent / "probe", steps, evaluate_every=steps // PROBE_EVALUATIONS)
            paths.write_json(probe, measured(trained, total=steps))
        if self._args.only_probe:
            return
        steps = fitting(_read(probe), seconds=seconds, whole=self._whole(name))
        self._finish(name, fold, steps, seconds=None if self._args.untimed else seconds)

    def _finish(self, name: str, fold: int, steps: int, *, seconds: float | None) -> None:
        folder = self._folder(name, fold)
        trained = self._process(name, fold, folder, steps, seconds=seconds)
        stamps = trained.pop("stamps", [])
        speed = stock_loop.rate(stamps, batch_size=BATCH_SIZE) if len(stamps) > 1 else None  # the stock loop that was stopped says nothing
        paths.write_json(folder / DONE, trained | {"planned": steps, "images_per_second": speed})

    def _whole(self, name: str) -> int:
        return stock_loop.ITERATION if self._variants[name].stock else 1

    def _process(
        self, name: str, fold: int, folder: Path, steps: int, *, seconds: float | None = None, evaluate_every: int | None = None
    ) -> dict[str, Any]:
        shutil.rmtree(folder, ignore_errors=True)
        recipe, args = self._variants[name], self._args
        _say(f"{name}, {folder.name}: {steps} steps" + (f", at most {seconds:.0f} s" if seconds else ""))
        if recipe.stock:
            data, run = self._data(fold, "whole"), folder / RUN
            config = stock_loop.resolve(
                run,
                config=args.config,
                data=data,
                pretrained=args.pretrained,
                steps=steps,
                batch_size=BATCH_SIZE,
                settings=args.settings,
                recipe="stock",
                change=functools.partial(vary, recipe=recipe),
            )
            spec = {"config": str(config), "model_dir": str(run / "train"), "checkpoint_every": stock_loop.ITERATION, "end_if_lost": True}
            return stock_loop.run("stock", spec, log=folder / "log.txt", seconds=seconds)
        folder.mkdir(parents=True)
        argv = ["--config", args.config, "--data", str(self._data(fold, "small")), "--run", str(folder / RUN), "--steps", str(steps)]
        argv += ["--batch-size", str(BATCH_SIZE), "--seed", str(args.seed)]
        argv += ["--pretrained", args.pretrained or "none"]
        argv += [part for setting in args.settings for part in ("--set", setting)]
        argv += ["--evaluate-every", str(max(1, evaluate_every or steps // EVALUATIONS))]
        return stock_loop.run("ours", {"argv": [*argv, *recipe.flags]}, log=folder / "log.txt", seconds=seconds)

    def _detect(self, name: str, base: str, fold: int) -> None:
        folder = self._folder(name, fold)
        if (folder / f"{OUTER}.json").exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        if self._variants[name].among:
            for file in (f"{INNER}.json", "checkpoint.json", f"{OUTER}.json"):
                shutil.copyfile(self._folder(base, fold) / file, folder / file)
            return
        outer = self.out / "records" / "folds" / f"fold-{fold}"
        spec = {
            "run": str(self._folder(base, fold) / RUN),
            "newest": self._variants[name].newest or self._variants[base].stock,
            "settings": self._variants[name].detect,
            "sets": {str(folder / f"{INNER}.json"): str(self._data(fold, "whole")), str(folder / f"{OUTER}.json"): str(outer)},
        }
        answer = stock_loop.run("detect", spec, log=folder / "detect.txt", script=__file__)
        paths.write_json(folder / "checkpoint.json", {key: answer[key] for key in ("step", "finite")})

    def evaluate(self) -> dict[str, Any]:
        """Return the outcome of the variants whose folds are all there."""
        outcome: dict[str, Any] = {"figures": {}, "unfinished": []}
        pooled: dict[str, fold_evaluation.Pooled] = {}
        at_end: dict[str, list[dict[str, float | None]]] = {}
        folds = range(self._args.folds)
        outer = [_instances(self.out / "records" / "folds" / f"fold-{fold}", "val") for fold in folds]
        inner = [_instances(self._data(fold, "whole"), "val") for fold in folds]
        for name in self._args.variants:
            folders = [self._folder(name, fold) for fold in folds]
            if not all((folder / f"{OUTER}.json").exists() for folder in folders):
                outcome["unfinished"].append(name)
                continue
            rows = {role: [_read(folder / f"{role}.json") for folder in folders] for role in (INNER, OUTER)}
            thresholds, at_end[name] = zip(*map(fold_evaluation.choose, inner, rows[INNER]), strict=True)
            pooled[name] = fold_evaluation.pool(outer, rows[OUTER], thresholds)
            alone = [fold_evaluation.pool([truth], [one], [at]) for truth, one, at in zip(outer, rows[OUTER], thresholds, strict=True)]
            outcome["figures"][name] = {
                "folds": [fold_evaluation.figures(one) for one in alone],
                "pooled": fold_evaluation.intervals(pooled[name], seed=self._args.seed),
                "thresholds": thresholds,
                "runs": [self._about(name, fold) for fold in folds],
            }
        stock = [name for name in pooled if self._variants[name].stock]
        against = stock + [name for name in pooled if name == "ours"]
        outcome["comparisons"] = fold_evaluation.comparisons(pooled, against, seed=self._args.seed)
        own = [name for name in pooled if name not in stock and not self._variants[name].of and not self._variants[name].among]
        outcome["reached"] = [
            {"variant": name, "as": other, "figure": key, "seconds": self._reached(name, key, [one[key] for one in at_end[other]])}
            for name, other, key in itertools.product(own, stock, fold_evaluation.REACHED)
        ]
        return outcome

    def _reached(self, name: str, key: str, values: Sequence[float | None]) -> list[float | None]:
        done = [_read(self._folder(name, fold) / DONE) for fold in range(self._args.folds)]
        return [fold_evaluation.first_as_good(one, key, value) for one, value in zip(done, values, strict=True)]

    def _about(self, name: str, fold: int) -> dict[str, Any]:
        done = _read(self._folder(self._base(name, fold), fold) / DONE)
        checkpoint = _read(self._folder(name, fold) / "checkpoint.json")
        return checkpoint | {key: done.get(key) for key in ("planned", "seconds", "cpu_seconds", "stopped", "images_per_second")}


def vary(config: Any, *, recipe: Variant) -> None:
    """Give the zoo's config what a stock variant has otherwise."""
    config.train_config.gradient_clipping_by_norm = recipe.clip
    if recipe.rate:
        pipeline_config.set_peak_rate(config, recipe.rate)


def measured(outcome: Mapping[str, Any], *, total: int) -> dict[str, float]:
    """Return what the seconds of a short run of ``total`` steps went to: to the first step, a step, the first evaluation, a later one, the rest."""
    first = outcome["marks"]["first step"] - outcome["started"]
    step = BATCH_SIZE / stock_loop.rate(outcome["stamps"], batch_size=BATCH_SIZE)
    reported = {at: when for at, when, _ in outcome["stamps"]}  # an evaluation follows upon the report of its step
    evaluations = [when - reported[at] for at, when, _ in outcome.get("evaluations", [])]
    rest = outcome["seconds"] - first - step * (total - 1) - sum(evaluations)
    begin, later = (evaluations[0], statistics.median(evaluations[1:])) if len(evaluations) > 1 else (0.0, 0.0)
    return {"start": first, "step": step, "first evaluation": begin, "evaluation": later, "rest": max(0.0, rest)}


def fitting(probe: Mapping[str, float], *, seconds: float, whole: int) -> int:
    """Return the steps, a multiple of ``whole``, that fill ``FILLED`` of the seconds; at least that many."""
    beside = probe["start"] + probe["first evaluation"] + (EVALUATIONS - 1) * probe["evaluation"] + probe["rest"]
    return max(whole, int((FILLED * seconds - beside) / probe["step"]) // whole * whole)


def detect(run: str, newest: bool, settings: Sequence[str], sets: dict[str, str]) -> dict[str, Any]:
    """Run a checkpoint over the validation part of record sets and write COCO results; a model that is not finite finds nothing."""
    from pneumodet.core import logs

    logs.set_up(verbose=False)
    import tensorflow as tf

    from pneumodet.core import detections
    from pneumodet.data import record_sets
    from pneumodet.evaluation import checkpoint_detections
    from pneumodet.models.detection import checkpoints

    folder = Path(run)
    checkpoint = checkpoints.latest(folder / "train") if newest else checkpoints.of_run(folder)
    reader = tf.train.load_checkpoint(checkpoint)
    kinds = reader.get_variable_to_dtype_map()
    finite = all(np.isfinite(reader.get_tensor(name)).all() for name, kind in kinds.items() if kind.is_floating)
    step = int(reader.get_tensor("step/.ATTRIBUTES/VARIABLE_VALUE"))
    able = finite and step > 0  # the stock loop's first checkpoint may be without variables
    config = pipeline_config.load(str(folder / stock_loop.CONFIG))
    pipeline_config.override(config, settings)
    for path, data in sets.items():
        split = record_sets.RecordSet.open(Path(data)).val
        detections.write_coco_results(Path(path), dict(checkpoint_detections.detect_records(config, checkpoint, split)) if able else {})
    return {"step": step, "finite": bool(finite)}


def _make_records(sample: Path, labels: Path, output: Path, *flags: Any) -> None:
    if (output / "manifest.json").exists():
        return
    given = ["--dicom-dir", sample / "stage_2_train_images", "--labels", labels, "--output-dir", output, "--stratify", "class"]
    # each fold is the test of the others
    given += ["--test-fraction", "0"]
    given += ["--class-info", sample / "stage_2_detailed_class_info.csv", "--patient-map", sample / "rsna_to_nih.csv", *flags]
    command = [sys.executable, stock_loop.ROOT / "tools" / "make_tfrecords.py", *given]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def _instances(data: Path, split: str) -> dict[str, Any]:
    return _read(data / f"instances_{split}.json")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--sample", type=Path, required=True, help="folder of radiographs, labels and patients")
    add("--out", type=Path, required=True, help="folder of the study; the same command resumes it")
    add("--pretrained", metavar="CKPT", help="checkpoint that all start from (default: none)")
    add("--config", choices=recipes.names("stock"), default="ssd_mobilenet", help="(default %(default)s)")
    add(
        "--variants",
        nargs="+",
        default=["stock", "stock_0.005", "ours"],
        help=f"of {', '.join(VARIANTS)} and --define (default %(default)s)",
    )
    add("--define", type=defined, default={}, metavar="FILE", help="JSON with more variants")
    add("--minutes", type=float, default=10.0, help="wall time of each training (default %(default)s)")
    add("--steps", type=int, help="of each training, in place of --minutes")
    add("--folds", type=int, default=3, help="(default %(default)s)")
    add("--inner-fraction", type=float, default=0.2, help="of a fold's training patients, for inner validation (default %(default)s)")
    add("--probe-steps", type=int, default=PROBE_STEPS, help="of the run that measures speed; whole hundreds (default %(default)s)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help="field of the config, for all; repeatable")
    add("--seed", type=int, default=0, help="(default %(default)s)")
    add("--only-probe", action="store_true", help="measure how long a step takes, and end: for the moment at which nothing else runs")
    add(
        "--untimed",
        action="store_true",
        help="stop nobody after --minutes: the steps were chosen for them, and the machine has other work now",
    )
    add("--only-judge", action="store_true", help="train nothing more")
    return made


def defined(text: str) -> dict[str, Variant]:
    """Read a file of variants."""
    try:
        raw = json.loads(Path(text).read_text(encoding="utf-8"))
        return {
            name: Variant(**{key: tuple(value) if key in ("flags", "among", "detect") else value for key, value in one.items()})
            for name, one in raw.items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f"{text} has no variants: {error}") from error


def main() -> None:
    """Run the study, evaluate it and print."""
    command = parser()
    args = command.parse_args()
    unknown = [name for name in args.variants if name not in VARIANTS | args.define]
    if unknown:
        command.error(f"there is no variant {unknown[0]!r}")
    study = Study(args)
    study.run()
    outcome = study.evaluate()
    paths.write_json(args.out / "accuracy.json", outcome)
    text = fold_evaluation.markdown(outcome)
    (args.out / "accuracy.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__" and not stock_loop.answer({"detect": detect}):
    main()
