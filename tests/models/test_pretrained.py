"""Where training starts from: choices, the registry, archives, runs. No TensorFlow: index files are written here."""

import contextlib
import fcntl
import functools
import http.server
import io
import json
import shutil
import struct
import subprocess
import sys
import tarfile
import threading
import time
import types

import pytest

from pneumodet.core import paths, run_record, runs
from pneumodet.core.errors import CheckpointError, ConfigError, DataError
from pneumodet.core.run_record import RunRecord
from pneumodet.core.seen import Exams, Marks, Seen
from pneumodet.data import label_map, tfrecord
from pneumodet.models import checkpoint_registry, classification, pretrained, settings
from pneumodet.models.checkpoint_registry import Download
from pneumodet.models.classification.settings import ClassifierSettings
from pneumodet.models.detection import checkpoint_files, pipeline_config

CLASSES = {"no-pneumonia": 1, "pneumonia": 2}

BACKBONE = [checkpoint_files.OBJECT_GRAPH, "feature_extractor/a/.ATTRIBUTES/VARIABLE_VALUE", "save_counter/.ATTRIBUTES/VARIABLE_VALUE"]
DETECTOR = [checkpoint_files.OBJECT_GRAPH, "model/_box_predictor/a/.ATTRIBUTES/VARIABLE_VALUE", "model/_feature_extractor/b"]
NAME_BASED = ["Conv/biases", "Conv/weights"]


def index(names):
    """Return an index file as LevelDB's table format has it: one block of names, each written in full."""

    def trailer(block):
        return b"\0" + struct.pack("<I", tfrecord.masked_crc(block + b"\0"))

    def handle(start, size):
        return varint(start) + varint(size)

    def block(pairs):
        entries = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in pairs)
        return entries + struct.pack("<II", 0, 1)

    data = block([(b"", b"header"), *((name.encode(), b"entry") for name in sorted(names))])
    table = data + trailer(data)
    top = block([(b"zzz", handle(0, len(data)))])
    footer = handle(0, 0) + handle(len(table), len(top))
    return table + top + trailer(top) + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def varint(number):
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def write_checkpoint(prefix, names):
    prefix.parent.mkdir(parents=True, exist_ok=True)
    prefix.with_name(prefix.name + ".index").write_bytes(index(names))
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(b"values of " + prefix.name.encode())
    return str(prefix)


def archive(path, members):
    """Write a tar.gz of (name, bytes) pairs or ready TarInfo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def zoo_members(values=b"values"):
    top = "ssd_mobilenet_v2_320x320_coco17_tpu-8"
    return [
        (f"{top}/checkpoint/checkpoint", b"text"),
        (f"{top}/checkpoint/ckpt-0.index", index(DETECTOR)),
        (f"{top}/checkpoint/ckpt-0.data-00000-of-00001", values),
        (f"{top}/pipeline.config", b"model {}"),
        (f"{top}/saved_model/saved_model.pb", b"large"),
        (f"{top}/saved_model/variables/variables.index", b"another checkpoint"),
    ]


ZOO = "ssd_mobilenet_v2_320x320_coco17_tpu-8"


@pytest.fixture
def config():
    return pipeline_config.load("ssd_mobilenet")


@pytest.fixture
def folder(tmp_path):
    """Return a folder of checkpoints with the project's registry and nothing else."""
    path = tmp_path / "pretrained"
    path.mkdir()
    (path / checkpoint_registry.REGISTRY).write_bytes((paths.PRETRAINED_DIR / checkpoint_registry.REGISTRY).read_bytes())
    return path


@pytest.fixture
def mirror(tmp_path):
    """Return a folder that is a mirror with the archive of SSD MobileNetV2."""
    archive(tmp_path / "mirror" / f"{ZOO}.tar.gz", zoo_members())
    return tmp_path / "mirror"


@pytest.fixture
def resolve(folder, config):
    """Return pretrained.resolve for the config ssd_mobilenet, two classes and the folder above; no mirror unless one is given."""
    return functools.partial(pretrained.resolve, config=config, label_map=CLASSES, folder=folder, mirror="")


# the registry


def test_the_registry_is_complete():
    entries = checkpoint_registry.read(paths.PRETRAINED_DIR)
    for name, entry in entries.items():
        assert entry.type in pipeline_config.CHECKPOINT_TYPES
        assert entry.url.startswith("https://")
        assert entry.url.endswith(f"/{name}.tar.gz"), "an archive placed by hand and the folder have one name"
    assert len({entry.url for entry in entries.values()}) == len(entries)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        pytest.param("url", None, rf"the field checkpoints\.{ZOO}\.url is missing", id="null"),
        pytest.param("side_px", True, rf"checkpoints\.{ZOO}\.side_px is True, must be a whole number", id="number"),
        pytest.param("file", ..., rf"the field checkpoints\.{ZOO}\.file is missing", id="missing"),
    ],
)
def test_a_registry_with_a_wrong_field_names_it(resolve, folder, field, value, message):
    """A KeyError or a TypeError of Python before."""
    path = folder / checkpoint_registry.REGISTRY
    content = json.loads(path.read_text())
    content["checkpoints"][ZOO][field] = value
    if value is ...:
        del content["checkpoints"][ZOO][field]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        resolve("coco")


@pytest.mark.parametrize(
    ("name", "coco", "imagenet"),
    [
        ("ssd_mobilenet", ZOO, "mobilenet_v2"),
        ("ssd_mobilenet_fpnlite", "ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8", "mobilenet_v2"),
        ("ssd_mobilenet_fpnlite_640", "ssd_mobilenet_v2_fpnlite_640x640_coco17_tpu-8", "mobilenet_v2"),
        ("faster_rcnn_mobilenet_fpn", None, "mobilenet_v2"),
        ("faster_rcnn_resnet50", "faster_rcnn_resnet50_v1_640x640_coco17_tpu-8", "resnet50_v1"),
        ("faster_rcnn_resnet101", "faster_rcnn_resnet101_v1_640x640_coco17_tpu-8", "resnet101_v1"),
        ("mask_rcnn_resnet50", "faster_rcnn_resnet50_v1_640x640_coco17_tpu-8", "resnet50_v1"),
        ("efficientdet_d0", "efficientdet_d0_coco17_tpu-32", "efficientnet_b0"),
        ("retinanet_resnet50", "ssd_resnet50_v1_fpn_640x640_coco17_tpu-8", "resnet50_v1"),
    ],
)
def test_every_config_has_a_detector_and_a_backbone(name, coco, imagenet):
    config, entries = pipeline_config.load(name), checkpoint_registry.read(paths.PRETRAINED_DIR)
    assert pretrained._for_config("coco", entries, config) == coco
    assert pretrained._for_config("imagenet", entries, config) == imagenet


def test_every_config_of_the_project_is_in_the_table_above():
    table = {mark.args[1][i][0] for mark in test_every_config_has_a_detector_and_a_backbone.pytestmark for i in range(len(mark.args[1]))}
    assert table == set(pipeline_config.names())


def test_an_architecture_without_a_checkpoint_is_told(resolve, config):
    config.model.ssd.feature_extractor.type = "ssd_mobilenet_edgetpu_keras"
    with pytest.raises(ConfigError, match="no coco checkpoint for the feature extractor 'ssd_mobilenet_edgetpu_keras'"):
        resolve("coco")


# downloads


def test_from_a_mirror_folder(resolve, folder, mirror):
    start = resolve("coco", mirror=str(mirror))
    assert start.checkpoint == str(folder / ZOO / "ckpt-0")
    assert (start.type, start.licence) == ("detection", "Apache-2.0")
    assert start.sha256 == paths.sha256_file(mirror / f"{ZOO}.tar.gz")
    assert ZOO in start.source
    there = sorted(path.name for path in (folder / ZOO).iterdir())
    assert there == ["ckpt-0.data-00000-of-00001", "ckpt-0.index", "pipeline.config"], "no SavedModel"
    assert {path.name for path in folder.iterdir()} == {ZOO, checkpoint_registry.REGISTRY, checkpoint_registry.LOCK, ".lock"}
    record = json.loads((folder / checkpoint_registry.LOCK).read_text())[ZOO]
    assert record["sha256"] == start.sha256
    (mirror / f"{ZOO}.tar.gz").unlink()
    assert resolve(ZOO, mirror=str(mirror)) == start, "the second time, nothing is asked for"


@pytest.fixture
def served(mirror):
    """Return the base URL of a server of the mirror's files."""
    handler = functools.partial(Silent, directory=str(mirror))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


class Silent(http.server.SimpleHTTPRequestHandler):
    """A server of files that writes nothing."""

    def log_message(self, *args):
        pass


def know(folder, archive):
    """Let the record of downloads have an archive's SHA-256, as if it were copied from another computer."""
    url = checkpoint_registry.read(folder)[ZOO].url
    checkpoint_registry.record(folder, ZOO, Download(url=url, sha256=paths.sha256_file(archive), files={}))


def test_a_mirror_without_tls_needs_a_sum(folder, resolve, served, mirror, monkeypatch):
    monkeypatch.setattr(pretrained.download, "fetch", None)
    with pytest.raises(CheckpointError, match=f"{ZOO}.tar.gz is not asked for: without TLS anybody .* no source has its SHA-256"):
        resolve("coco", mirror=served)
    assert not (folder / ZOO).exists() and checkpoint_registry.downloads(folder) == {}


def test_from_a_mirror_url_of_the_environment(folder, config, served, mirror, monkeypatch):
    """Without TLS, so that the sum comes with the record of another computer."""
    know(folder, mirror / f"{ZOO}.tar.gz")
    monkeypatch.setenv(pretrained.MIRROR, served + "/")
    progress, notices = [], []
    start = pretrained.resolve(
        "coco", config=config, label_map=CLASSES, folder=folder, on_progress=lambda *now: progress.append(now), on_notice=notices.append
    )
    assert start.checkpoint.endswith("ckpt-0")
    assert progress[-1][0] == progress[-1][1]
    assert notices == [f"downloading {served}/{ZOO}.tar.gz"]
    assert not list(folder.glob("*.tar.gz*"))


def test_offline_says_what_to_do(resolve, folder, monkeypatch):
    monkeypatch.setattr(pretrained.download, "fetch", functools.partial(pretrained.download.fetch, delays=()))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(CheckpointError) as caught:
        resolve("coco")
    text = str(caught.value)
    for part in (checkpoint_registry.read(paths.PRETRAINED_DIR)[ZOO].url, str(folder / f"{ZOO}.tar.gz"), pretrained.MIRROR):
        assert part in text
    assert "\n" not in text


def test_a_mirror_without_the_file(resolve, tmp_path):
    with pytest.raises(CheckpointError, match=f"has no {ZOO}.tar.gz"):
        resolve("coco", mirror=str(tmp_path))


def test_an_archive_placed_by_hand_is_used_and_kept(resolve, folder):
    placed = archive(folder / f"{ZOO}.tar.gz", zoo_members())
    assert resolve("coco").sha256 == paths.sha256_file(placed)
    assert placed.is_file()


def test_a_folder_placed_by_hand_is_used(resolve, folder):
    write_checkpoint(folder / "mobilenet_v2" / "ckpt-1", BACKBONE)
    start = resolve("imagenet")
    assert start.checkpoint == str(folder / "mobilenet_v2" / "ckpt-1")
    assert (start.type, start.licence, start.sha256) == ("classification", None, None)
    assert "by hand" in start.source


def test_an_archive_that_changed_since_the_first_download_is_refused(resolve, folder, mirror):
    resolve("coco", mirror=str(mirror))
    shutil.rmtree(folder / ZOO)
    archive(mirror / f"{ZOO}.tar.gz", zoo_members(b"other values"))
    with pytest.raises(CheckpointError, match=r"registry\.lock\.json, recorded at the first download"):
        resolve("coco", mirror=str(mirror))
    assert not (folder / ZOO).exists()


def test_an_archive_with_another_published_sum_is_refused(resolve, folder, mirror):
    registry = json.loads((folder / checkpoint_registry.REGISTRY).read_text())
    registry["checkpoints"][ZOO]["sha256"] = "0" * 64
    (folder / checkpoint_registry.REGISTRY).write_text(json.dumps(registry))
    with pytest.raises(CheckpointError, match=r"0{64} is expected \(registry\.json\)"):
        resolve("coco", mirror=str(mirror))
    assert not (folder / ZOO).exists()


@pytest.mark.parametrize("file", ["ckpt-0.data-00000-of-00001", "ckpt-0.index", "pipeline.config"])
def test_a_file_that_changed_since_the_download_is_refused(resolve, folder, mirror, file):
    resolve("coco", mirror=str(mirror))
    with open(folder / ZOO / file, "ab") as handle:
        handle.write(b"x")
    with pytest.raises(CheckpointError, match="is not as it was downloaded|cut off"):
        resolve("coco", mirror=str(mirror))


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(member("/etc/ckpt-0.index"), id="absolute"),
        pytest.param(member("top/../../ckpt-0.index"), id="parent"),
        pytest.param(member("top/ckpt-0.index", tarfile.SYMTYPE, "/etc/passwd"), id="symlink"),
        pytest.param(member("top/ckpt-0.index", tarfile.LNKTYPE, "other"), id="hardlink"),
        pytest.param(member("top/pipe", tarfile.FIFOTYPE), id="pipe"),
        pytest.param(member("top/null", tarfile.CHRTYPE), id="device"),
    ],
)
def test_a_dangerous_archive_is_not_unpacked(resolve, folder, mirror, bad):
    archive(mirror / f"{ZOO}.tar.gz", [*zoo_members(), bad])
    with pytest.raises(DataError, match="It is not unpacked"):
        resolve("coco", mirror=str(mirror))
    assert {path.name for path in folder.iterdir()} == {checkpoint_registry.REGISTRY, ".lock"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(lambda whole: whole[: len(whole) // 2], "is no whole archive", id="cut-off"),
        pytest.param(lambda whole: whole[:-5], "is no whole archive", id="end-missing"),
        pytest.param(lambda whole: whole[:-8] + b"1234" + whole[-4:], "is no whole archive", id="checksum"),
        pytest.param(lambda whole: b"<html>Sign in</html>" * 50, "is no whole archive", id="login-page"),
        pytest.param(lambda whole: b"", "is no whole archive", id="empty"),
    ],
)
def test_a_broken_archive_leaves_nothing(resolve, folder, mirror, served, content, message):
    path = mirror / f"{ZOO}.tar.gz"
    path.write_bytes(content(path.read_bytes()))
    know(folder, path)
    with pytest.raises(DataError, match=message):
        resolve("coco", mirror=served)
    assert {path.name for path in folder.iterdir()} == {checkpoint_registry.REGISTRY, checkpoint_registry.LOCK, ".lock"}


def test_an_archive_without_a_checkpoint(resolve, mirror):
    archive(mirror / f"{ZOO}.tar.gz", [("top/a.index", b""), ("top/b.index", b"")])
    with pytest.raises(DataError, match=r"holds no checkpoint ckpt-0 \(there: a, b\)"):
        resolve("coco", mirror=str(mirror))


def test_the_only_checkpoint_is_taken_whatever_its_name(resolve, mirror):
    members = [(name.replace("ckpt-0", "model.ckpt-7"), content) for name, content in zoo_members()]
    archive(mirror / f"{ZOO}.tar.gz", members)
    assert resolve("coco", mirror=str(mirror)).checkpoint.endswith("/model.ckpt-7")


def test_a_full_disk_leaves_nothing_half(resolve, folder, mirror, monkeypatch):
    def full(source, target):
        target.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(DataError, match="No space left on device"):
        resolve("coco", mirror=str(mirror))
    assert {path.name for path in folder.iterdir()} == {checkpoint_registry.REGISTRY, ".lock"}


def test_a_second_start_waits_for_the_first(resolve, folder, mirror):
    notices, results = [], []
    with open(folder / ".lock", "a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: results.append(resolve("coco", mirror=str(mirror), on_notice=notices.append)))
        thread.start()
        deadline = time.monotonic() + 10
        while not notices and time.monotonic() < deadline:
            thread.join(0.01)
        assert "another process" in notices[0]
        assert not results
        assert not (folder / ZOO).exists()
    thread.join(10)
    assert results[0].checkpoint.endswith("ckpt-0")


# paths and runs


def test_none_is_nothing(resolve):
    assert resolve("none") is None


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("cocoo", "no pretrained checkpoint 'cocoo'; did you mean 'coco'"),
        ("efficientdet_d0_coco17", "did you mean 'efficientdet_d0_coco17_tpu-32'"),
    ],
)
def test_an_unknown_name_gets_the_nearest(resolve, choice, message):
    with pytest.raises(ConfigError, match=message):
        resolve(choice)


@pytest.mark.parametrize(("names", "kind"), [(BACKBONE, "classification"), (DETECTOR, "detection")], ids=["backbone", "detector"])
@pytest.mark.parametrize("form", ["ckpt-3", "ckpt-3.index", "ckpt-3.data-00000-of-00001", ""])
def test_a_path_is_known_by_what_it_holds(resolve, tmp_path, names, kind, form):
    write_checkpoint(tmp_path / "some" / "ckpt-3", names)
    start = resolve(str(tmp_path / "some" / form))
    assert (start.checkpoint, start.type) == (str(tmp_path / "some" / "ckpt-3"), kind)


def test_a_type_that_is_given_holds(resolve, tmp_path):
    assert resolve(write_checkpoint(tmp_path / "ckpt-3", DETECTOR), kind="full").type == "full"


def test_the_newest_of_a_folder_is_the_one_that_its_state_names(resolve, tmp_path):
    for number in (9, 10, 11):
        write_checkpoint(tmp_path / "some" / f"ckpt-{number}", DETECTOR)
    assert resolve(str(tmp_path / "some")).checkpoint.endswith("ckpt-11"), "without a state file, the highest number"
    (tmp_path / "some" / "checkpoint").write_text('model_checkpoint_path: "/moved/since/ckpt-10"\nall_model_checkpoint_paths: "ckpt-9"\n')
    assert resolve(str(tmp_path / "some")).checkpoint.endswith("ckpt-10")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("weights.h5", b"\x89HDF\r\n\x1a\n", "is Keras weights", id="keras-h5"),
        pytest.param("weights", b"\x89HDF\r\n\x1a\n", "is Keras weights", id="keras-without-suffix"),
        pytest.param("model.keras", b"PK\x03\x04", "is a Keras model", id="keras-3"),
        pytest.param("resnet.pth", b"PK\x03\x04", "is PyTorch weights", id="pytorch"),
        pytest.param("resnet.bin", b"\x80\x02}q", "is PyTorch weights", id="pytorch-pickle"),
        pytest.param("saved_model/saved_model.pb", b"\x08\x01", "is a SavedModel", id="saved-model-file"),
        pytest.param("model.tflite", b"\x1c\x00\x00\x00TFL3", "is a TFLite model", id="tflite"),
        pytest.param("zoo.tar.gz", b"\x1f\x8b", "is an archive: unpack it first", id="archive"),
        pytest.param("notes.txt", b"hello", "is something else", id="text"),
    ],
)
def test_what_is_no_checkpoint_is_named(resolve, tmp_path, name, content, message):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        resolve(str(path))


def test_a_saved_model_folder_is_named(resolve, tmp_path):
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").write_bytes(b"\x08\x01")
    write_checkpoint(tmp_path / "saved_model" / "variables" / "variables", DETECTOR)
    with pytest.raises(CheckpointError, match="is a SavedModel"):
        resolve(str(tmp_path / "saved_model"))


def test_a_checkpoint_of_tensorflow_1_is_named(resolve, tmp_path):
    with pytest.raises(CheckpointError, match=r"name-based checkpoint of TensorFlow 1 \(2 entries, such as Conv/biases, Conv/weights\)"):
        resolve(write_checkpoint(tmp_path / "model.ckpt", NAME_BASED))


def test_objects_of_other_libraries_are_named(resolve, tmp_path):
    prefix = write_checkpoint(tmp_path / "ckpt-1", [checkpoint_files.OBJECT_GRAPH, "backbone/a", "decoder/b"])
    with pytest.raises(CheckpointError, match="holds backbone, decoder, neither a detector"):
        resolve(prefix)
    assert resolve(prefix, kind="fine_tune").type == "fine_tune"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-20]), "cut off", id="index-cut-off"),
        pytest.param(lambda path: path.write_bytes(b"\xff" * 40 + path.read_bytes()[40:]), "cut off", id="index-damaged"),
        pytest.param(lambda path: path.write_bytes(b""), "cut off", id="index-empty"),
        pytest.param(lambda path: path.with_name("ckpt-1.data-00000-of-00001").unlink(), "data-00000-of-00001 is missing", id="no-data"),
    ],
)
def test_a_damaged_checkpoint_is_named(resolve, tmp_path, damage, message):
    prefix = write_checkpoint(tmp_path / "ckpt-1", DETECTOR)
    damage(tmp_path / "ckpt-1.index")
    with pytest.raises(CheckpointError, match=message):
        resolve(prefix)


@pytest.fixture
def run(tmp_path, monkeypatch, config):
    """Return the folder of a run "mine" of ssd_mobilenet with two classes, at step 4."""
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path / "ws"))
    folder = tmp_path / "ws" / "mine"
    pipeline_config.save(config, folder / runs.CONFIG)
    paths.write_json(folder / runs.RECORD, {})
    label_map.write_label_map(folder / runs.LABEL_MAP, CLASSES)
    write_checkpoint(folder / "train" / "ckpt-4", DETECTOR)
    return folder


def test_a_run_of_the_same_model_is_taken_in_full(resolve, run, config):
    config.model.ssd.image_resizer.fixed_shape_resizer.height = 640  # changes no variable
    start = resolve("run:mine")
    assert (start.checkpoint, start.type, start.source) == (str(run / "train" / "ckpt-4"), "full", "run mine, ckpt-4")
    for path in (run, run / "train", run / "train" / "ckpt-4"):
        assert resolve(str(path)) == start


def test_what_a_run_has_seen_comes_with_its_weights(resolve, run, mirror):
    assert resolve("run:mine").seen == Seen(unrecorded=("the run mine",)), "a run of an earlier release"
    seen = Seen(trained=Marks.of(Exams.of([{"file_name": "a"}])))
    run_record.write(run / runs.RECORD, RunRecord(seen=seen))
    assert resolve("run:mine").seen == resolve(str(run / "train" / "ckpt-4")).seen == seen
    assert resolve("coco", mirror=str(mirror)).seen == Seen(), "photographs"


def test_weights_of_unknown_origin_are_not_said_to_have_seen_nothing(resolve, tmp_path):
    write_checkpoint(tmp_path / "ckpt-9", DETECTOR)
    assert resolve(str(tmp_path / "ckpt-9")).seen == Seen(unrecorded=("the weights ckpt-9",))


def test_the_best_of_a_run_goes_before_the_newest(resolve, run):
    write_checkpoint(run / runs.BEST / "ckpt-2", DETECTOR)
    assert resolve("run:mine").checkpoint == str(run / runs.BEST / "ckpt-2")
    assert resolve(str(run / runs.BEST / "ckpt-2")).type == "full"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda run, config: label_map.write_label_map(run / runs.LABEL_MAP, {"no-pneumonia": 1, "opacity": 2}), id="other-classes"
        ),
        pytest.param(
            lambda run, config: config.model.ssd.anchor_generator.ssd_anchor_generator.aspect_ratios.append(5.0), id="other-anchors"
        ),
        pytest.param(
            lambda run, config: setattr(config.model.ssd.box_predictor.convolutional_box_predictor, "kernel_size", 3), id="other-head"
        ),
    ],
)
def test_a_run_with_other_heads_is_taken_as_a_detector(resolve, run, config, change):
    change(run, config)
    assert resolve("run:mine").type == "detection"


def test_a_run_with_other_anchors_is_told_of(resolve, run, config):
    """Its box heads would fit by name and shape, and be wrong: the names of a fitted config's fields are the same, and so is their number."""
    said = []
    resolve("run:mine", on_notice=said.append)
    config.model.ssd.box_predictor.convolutional_box_predictor.kernel_size = 3
    resolve("run:mine", on_notice=said.append)
    assert said == []
    config.model.ssd.anchor_generator.ssd_anchor_generator.aspect_ratios[0] = 0.65
    for choice in ("run:mine", str(run)):
        resolve(choice, on_notice=said.append)
        assert "warning: The run mine was trained with other anchors than this config has" in said[-1]
    assert f"--config {run / runs.CONFIG}" in said[-1]
    resolve("run:mine", config=pipeline_config.load(str(run / runs.CONFIG)), on_notice=said.append)
    assert len(said) == 2


def test_a_run_of_another_architecture_is_refused(resolve, run):
    with pytest.raises(CheckpointError, match="'ssd_mobilenet_v2_keras', but this config has 'faster_rcnn_resnet50_keras'"):
        resolve("run:mine", config=pipeline_config.load("faster_rcnn_resnet50"))


def test_a_run_without_checkpoint_and_one_that_is_not_there(resolve, run):
    for path in (run / "train").iterdir():
        path.unlink()
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        resolve("run:mine")
    with pytest.raises(DataError, match="no run 'yours'"):
        resolve("run:yours")


@pytest.fixture
def classifier(run):
    """Return what makes the folder of a classifier's run "gate" that has seen an exam."""

    def make(backbone="mobilenetv2"):
        folder = run.parent / "gate"
        write_checkpoint(
            folder / runs.BEST / "ckpt-6", [checkpoint_files.OBJECT_GRAPH, "model/_operations/3/gamma/.ATTRIBUTES/VARIABLE_VALUE"]
        )
        (folder / runs.BEST / checkpoint_files.STATE).write_text('model_checkpoint_path: "ckpt-6"\n')
        settings.save(ClassifierSettings(backbone=backbone), folder / runs.SETTINGS)
        run_record.write(folder / runs.RECORD, RunRecord(family=runs.CLASSIFICATION, seen=SEEN))
        return folder

    return make


SEEN = Seen(trained=Marks.of(Exams.of([{"file_name": "a"}])))


@pytest.fixture
def handed_over(monkeypatch):
    """Let a classifier's backbone be written as an index alone, without TensorFlow."""
    stub = types.SimpleNamespace(
        handed_over=lambda run, prefix, _: write_checkpoint(run / "backbone" / prefix.rpartition("/")[2], BACKBONE)
    )
    monkeypatch.setitem(sys.modules, "pneumodet.models.classification.weights", stub)
    # where another test has imported it
    monkeypatch.setattr(classification, "weights", stub, raising=False)


def test_a_classifiers_backbone_is_taken(resolve, classifier, handed_over):
    folder = classifier()
    start = resolve("run:gate")
    assert (start.checkpoint, start.type) == (str(folder / "backbone" / "ckpt-6"), "classification")
    assert (start.source, start.seen) == ("the backbone of the classifier gate, ckpt-6", SEEN)
    for path in (folder / runs.BEST, folder / runs.BEST / "ckpt-6"):
        assert resolve(str(path)) == start
    written = resolve(start.checkpoint)
    assert (written.checkpoint, written.type, written.seen) == (start.checkpoint, "classification", SEEN), (
        "what was written before, by its path"
    )


def test_a_classifier_of_another_backbone_is_refused(resolve, classifier, handed_over, config):
    classifier("vgg16")
    with pytest.raises(
        CheckpointError, match=r"gate has the backbone vgg16, which is not that of .*'ssd_mobilenet_v2_keras'\. .*mobilenetv2 to ssd"
    ):
        resolve("run:gate")
    classifier()
    with pytest.raises(CheckpointError, match="'faster_rcnn_resnet50_keras'"):
        resolve("run:gate", config=pipeline_config.load("faster_rcnn_resnet50"))
    assert resolve("run:gate", config=pipeline_config.load("faster_rcnn_mobilenet_fpn")).type == "classification"
    config.model.ssd.feature_extractor.depth_multiplier = 0.5
    with pytest.raises(CheckpointError, match="of width 1, but this config's has depth_multiplier 0.5"):
        resolve("run:gate")


def test_a_run_of_a_segmenter_is_refused(resolve, run):
    run_record.write(run / runs.RECORD, RunRecord(family=runs.SEGMENTATION))
    with pytest.raises(DataError, match="'mine' is of the family segmentation, not detection"):
        resolve("run:mine")


def test_nothing_of_it_needs_tensorflow(run, folder, mirror):
    code = f"""
import sys
from pathlib import Path
from pneumodet.models import checkpoint_registry, pretrained
from pneumodet.models.detection import pipeline_config
config = pipeline_config.load("ssd_mobilenet")
for choice in ("coco", "run:mine"):
    pretrained.resolve(choice, config=config, label_map={CLASSES!r}, folder=Path({str(folder)!r}), mirror={str(mirror)!r})
sys.exit("tensorflow" in sys.modules)
"""
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
