"""What age, sex, view position and pixel spacing alone say of pneumonia: the figure that every model of radiographs has to beat."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pneumodet.cli import console
from pneumodet.core import formatting, processes, progress

EPILOG = """examples:
  python tools/metadata_baseline.py --labels data/rsna/stage_2_train_labels.csv --dicom-dir data/rsna/stage_2_train_images \\
    --patient-map data/rsna/pneumonia-challenge-dataset-mappings_2018.json --output-dir workspace/metadata
  python tools/metadata_baseline.py --data workspace/records/rsna --output-dir workspace/metadata
  python tools/metadata_baseline.py --data workspace/records/rsna --output-dir workspace/metadata_test --evaluate-test

Writes baseline.html, baseline.json and scores.csv (patientId,score; each by a model that was not fitted on the exam's patient), which is a gate for
python tools/postprocess.py; with --data also scores_val.csv and so on. The test split of a record set is in no fold."""


def build_parser() -> console.Parser:
    """Return the command's parser."""
    parser = console.Parser("metadata_baseline", __doc__, EPILOG)
    group = parser.add_argument_group("input")
    add = group.add_argument
    add("--data", type=console.existing_dir, help="record set from make_tfrecords: labels, age, sex, view and patients")
    add("--labels", type=console.existing_path, help="or labels, in any format of make_tfrecords, with one of the next two")
    add(
        "--headers",
        type=console.existing_file,
        metavar="CSV",
        help="PatientAge, PatientSex, ViewPosition, PixelSpacing by patientId; may be .gz",
    )
    add("--dicom-dir", type=console.existing_path, help="folder (or ZIP archive) of the DICOM files")
    console.add_class_map(group)
    add("--patient-map", type=console.existing_file, help="which patient each exam is of, as in make_tfrecords (default: each of its own)")
    add(
        "--workers",
        type=console.positive_int,
        default=processes.cpus(),
        help="processes that read headers (default: one a processor, %(default)s)",
    )
    add = parser.add_argument_group("evaluation").add_argument
    add("--folds", type=console.positive_int, default=5, help="of patients (default %(default)s)")
    add("--seed", type=console.whole_number, default=0, help="of folds, models and intervals (default %(default)s)")
    add("--resamples", type=console.positive_int, default=1000, help="of patients, for the intervals (default %(default)s)")
    add(
        "--evaluate-test",
        action="store_true",
        help="with --data, once at the end: evaluate the best model, fitted on all others, on the test split",
    )
    add("--show-leak", action="store_true", help="show how box columns and a split by row give an accuracy of 99 %%; slower")
    add = parser.add_argument_group("output").add_argument
    add("--output-dir", type=console.path, required=True, help="new folder")
    add("--overwrite", action="store_true", help="replace an earlier result in --output-dir once the new one is whole")
    return parser


def run(args: argparse.Namespace) -> None:
    """Evaluate, and say what came out."""
    from pneumodet.core import folders, paths
    from pneumodet.data import class_map
    from pneumodet.exploration.baseline import report, table

    # before the headers of a whole data set are read, which takes minutes
    folders.check_free(args.output_dir, marker=report.RESULT, overwrite=args.overwrite)
    with progress.bar(desc="headers", unit="file") as bar:
        # how many headers there are is known only once the folder has been searched
        def read(count: int, total: int) -> None:
            bar.total = total
            bar.update(count)

        exams = table.read(
            labels=args.labels,
            headers_csv=args.headers,
            dicom_dir=args.dicom_dir,
            records=args.data,
            patient_map=args.patient_map,
            class_map=class_map.parse(args.class_map),
            with_test=args.evaluate_test,
            workers=args.workers,
            on_progress=read,
        )
    files = {name: getattr(args, name) for name in ("labels", "headers", "patient_map")}
    # names without folders, which may show who works where; a folder has no checksum
    inputs = {name: {"name": path.name, "sha256": paths.sha256_file(path)} for name, path in files.items() if path and Path(path).is_file()}
    with progress.bar(total=report.steps(exams, folds=args.folds, show_leak=args.show_leak), desc="fitting", unit="fold") as bar:
        result = report.write(
            exams,
            args.output_dir,
            folds=args.folds,
            seed=args.seed,
            resamples=args.resamples,
            show_leak=args.show_leak,
            inputs=inputs,
            overwrite=args.overwrite,
            on_fold=bar.update,
        )
    _print(args, result, sorted(set(exams.splits)))


def _print(args: argparse.Namespace, result: dict, splits: list[str]) -> None:
    for note in result["notes"]:
        console.err(f"note: {note}")
    console.out(
        f"{console.counted(result['exams'], 'exam')} of {console.counted(result['patients'], 'patient')}, "
        f"{result['positive_exams']:,} with pneumonia; {result['folds']} folds; "
        f"{', '.join(result['columns'])}"
    )
    rule = [{**result["rule"], "name": f"rule: {result['rule']['name']}"}] if result["rule"] else []
    models = [*result["models"].values(), *rule, *([result["test"]] if "test" in result else [])]
    wide = 2 + max(len(name) for name in [*(one["name"] for one in models), *result["columns"]])
    console.out(f"  {'model':{wide}}{'ROC AUC [95 %]':26}average precision [95 %]")
    for one in models:
        console.out(f"  {one['name']:{wide}}{formatting.figure(one['roc_auc']):26}{formatting.figure(one['average_precision'])}")
    console.out(f"  {'column':{wide}}{'ROC AUC lost when shuffled [lowest, highest fold]':52}ROC AUC alone")
    for column in result["columns"]:
        fall = result["models"][result["scores_of"]]["importance"][column]
        console.out(f"  {column:{wide}}{formatting.figure(fall):52}{result['alone'][column]:.3f}")
    if "leak" in result:
        console.out(result["leak"]["explanation"])
        console.out(f"  {'columns':22}{'split':14}" + "".join(f"{one['name']:28}" for one in result["models"].values()).rstrip())
        for way in result["leak"]["ways"]:
            cells = "".join(f"{_way(one):28}" for one in way["models"].values())
            console.out(f"  {way['columns']:22}{way['split']:14}{cells}".rstrip())
        console.out(f"  calling every row negative: accuracy {result['leak']['ways'][0]['majority']:.1%}")
    if test := result.get("test"):
        console.out(
            f"Test: {console.counted(test['exams'], 'exam')} of {console.counted(test['patients'], 'patient')}, {test['positive_exams']:,} with pneumonia, "
            f"scored by a model that was fitted on all others: {args.output_dir / 'scores_test.csv'}"
        )
    # the gate takes scores of the exams that are evaluated, and of no others
    scores = args.output_dir / ("scores_val.csv" if "val" in splits else "scores.csv")
    console.out(f"Report:  {args.output_dir / 'baseline.html'}\nFigures: {args.output_dir / 'baseline.json'}")
    console.out(f"Scores:  {scores} (of {result['models'][result['scores_of']]['name']})")
    if args.data:
        console.out(
            f"Next:    python tools/compare.py --runs {console.quoted(f'metadata={scores}')} --truth {console.quoted(args.data)} "
            f"--output-dir {console.quoted(f'{args.output_dir}_compared')}"
        )
    console.out(
        f"{'         ' if args.data else 'Next:    '}as a gate for a detector's boxes: python tools/postprocess.py --gate {console.quoted(scores)}"
    )


def _way(one: dict) -> str:
    return f"accuracy {one['accuracy']:.1%}, AUC {one['roc_auc']:.3f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``console.run``."""
    return console.run(build_parser(), run, argv)
