"""The first steps of a config on this machine's device, at the zoo's batch size: seconds, images/s and memory, as one line of JSON.

    python benchmarks/gpu_step.py --data RECORDS --config ssd_mobilenet --precision bfloat16

A process of its own for each measurement, so that the memory is that of one model. ``benchmarks/gpu.sh`` calls it for each config.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from pneumodet.data.record_sets import RecordSet  # noqa: E402
from pneumodet.models.detection import choices, pipeline_config  # noqa: E402
from pneumodet.models.options import Options  # noqa: E402

ZOO_BATCH = {
    "ssd_mobilenet": 512,
    "ssd_mobilenet_fpnlite": 128,
    "ssd_mobilenet_fpnlite_640": 128,
    "efficientdet_d0": 128,
    "retinanet_resnet50": 64,
    "faster_rcnn_mobilenet_fpn": 64,
    "faster_rcnn_resnet50": 64,
    "faster_rcnn_resnet101": 64,
    "mask_rcnn_resnet50": 16,
}
"""Config -> images a step of the zoo's own training, most of them on TPUs of 8 to 32 cores. What one device cannot hold is tried with half of it."""

WARM_UP = 2
"""First steps that are not counted: they trace and choose kernels."""


def measure(args: argparse.Namespace, batch_size: int) -> dict[str, Any]:
    """Train for some steps, and return what they took."""
    begin = time.perf_counter()
    import tensorflow as tf

    from pneumodet.training import cluster, start

    devices = tf.config.list_physical_devices("GPU")
    if args.device == "gpu" and not devices:
        raise SystemExit("TensorFlow sees no GPU. Is the driver there, and pneumodet installed with [gpu]? python -m pneumodet doctor")
    if args.device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    config, data = pipeline_config.load(args.config), RecordSet.open(args.data)
    pipeline_config.use_records(config, data, label_map_path=ROOT / "label_maps" / "pneumonia.pbtxt")
    pipeline_config.override(config, args.settings)
    config.train_config.batch_size, config.train_config.num_steps = batch_size, args.steps + WARM_UP
    parts = start.assemble(config, data, Options(precision=args.precision), fresh=False, cluster=cluster.alone())
    stamps = []
    for batch in parts.feed.batches(first_step=0, steps=args.steps + WARM_UP):
        losses = parts.trainer.step(batch)
        loss = float(next(iter(losses.values())))  # waits for the device
        stamps.append(time.perf_counter())
    parts.feed.close()
    seconds = statistics.median(later - earlier for earlier, later in zip(stamps[WARM_UP - 1 :], stamps[WARM_UP:], strict=False))
    on_gpu = args.device == "gpu"
    memory = tf.config.experimental.get_memory_info("GPU:0")["peak"] if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return {
        "seconds_to_first_step": round(stamps[0] - begin, 2),
        "milliseconds_a_step": round(1000 * seconds, 2),
        "images_per_second": round(batch_size / seconds, 2),
        "memory_mib": memory >> 20,
        "loss": loss,
        "device": devices[0].name if on_gpu else "cpu",
    }


def largest(args: argparse.Namespace) -> dict[str, Any]:
    """Measure at the batch size, and at half of it as long as the device has too little memory."""
    batch_size = args.batch_size or ZOO_BATCH[args.config]
    while True:
        try:
            return {"batch_size": batch_size, **measure(args, batch_size)}
        except Exception as error:
            # tf.errors, which only exist once TensorFlow is imported
            if type(error).__name__ != "ResourceExhaustedError" or batch_size == 1:
                return {"batch_size": batch_size, "failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
            batch_size //= 2


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="record set")
    parser.add_argument("--config", choices=tuple(ZOO_BATCH), required=True)
    parser.add_argument("--precision", choices=choices.PRECISIONS, default=choices.PRECISIONS[0])
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--batch-size", type=int, help="(default: the zoo's)")
    parser.add_argument("--steps", type=int, default=5, help=f"that are counted, after {WARM_UP} (default %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help="field of the config; repeatable")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a line."""
    args = build_parser().parse_args(argv)
    result = {"config": args.config, "precision": args.precision, **largest(args)}
    print(json.dumps(result), flush=True)
    return 1 if "failed" in result else 0


if __name__ == "__main__":
    sys.exit(main())
