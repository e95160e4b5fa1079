"""The same conversion on Apache Beam's DirectRunner."""

import importlib.util
import json
from pathlib import Path

import pytest
from record_making import convert

from pneumodet.cli import make_tfrecords
from pneumodet.core.errors import DataError
from pneumodet.data import beam_runner, record_sets, remote, settings, verification

# not importorskip, with which everybody who collects the tests would wait two seconds for it
pytestmark = pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="Apache Beam is an extra")

FLAGS = ["--runner=DirectRunner"]

TEST = settings.Settings().test_fraction
"""The default of the command, which the tests' own way to convert does not have."""


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def inputs(synthetic, **more):
    given = {name: getattr(synthetic, name) for name in ("dicom_dir", "labels", "patient_map")}
    return settings.Inputs(**(given | more))


@pytest.mark.parametrize("folds", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_the_same_files_as_locally(synthetic, tmp_path, folds):
    manifest = beam_runner.convert_on_beam(inputs(synthetic), str(tmp_path / "beam"), settings.Settings(folds=folds), beam_flags=FLAGS)
    convert(synthetic, tmp_path / "local", patient_map=synthetic.patient_map, folds=folds, test_fraction=TEST)
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")
    assert manifest == record_sets.RecordSet.open(tmp_path / "beam").manifest
    assert [path.name for path in (tmp_path / "beam").iterdir() if path.name.startswith(".")] == []


@pytest.fixture(scope="module")
def bucket():
    """Let URLs that begin with "bucket://" be read and written: Beam finds a file system by its class."""
    from apache_beam.io.filesystem import FileMetadata, FileSystem
    from apache_beam.io.localfilesystem import LocalFileSystem

    class Bucket(FileSystem):
        """A file system behind URLs, as object stores are: "bucket://" and the path of a local file."""

        local = LocalFileSystem(None)

        @classmethod
        def scheme(cls):
            return "bucket"

        @staticmethod
        def path(url):
            return url.removeprefix("bucket://")

        def join(self, base, *parts):
            return "/".join([base.rstrip("/"), *parts])

        def split(self, url):
            return tuple(url.rsplit("/", 1))

        def mkdirs(self, url):
            self.local.mkdirs(self.path(url))

        def has_dirs(self):
            return False

        def _list(self, url):
            for entry in self.local._list(self.path(url)):
                yield FileMetadata("bucket://" + entry.path, entry.size_in_bytes, entry.last_updated_in_seconds)

        def create(self, url, *arguments, **more):
            return self.local.create(self.path(url), *arguments, **more)

        def open(self, url, *arguments, **more):
            return self.local.open(self.path(url), *arguments, **more)

        def copy(self, sources, targets):
            self.local.copy(*[[self.path(url) for url in urls] for urls in (sources, targets)])

        def rename(self, sources, targets):
            self.local.rename(*[[self.path(url) for url in urls] for urls in (sources, targets)])

        def exists(self, url):
            return self.local.exists(self.path(url))

        def size(self, url):
            return self.local.size(self.path(url))

        def last_updated(self, url):
            return self.local.last_updated(self.path(url))

        def metadata(self, url):
            return next(iter(self._list(url)))

        def checksum(self, url):
            return self.local.checksum(self.path(url))

        def delete(self, urls):
            self.local.delete([self.path(url) for url in urls])

    return Bucket


def test_urls_for_everything(bucket, synthetic, tmp_path, capsys):
    urls = {name: f"bucket://{getattr(synthetic, name)}" for name in ("dicom_dir", "labels", "patient_map", "class_info")}
    flags = [text for name, url in urls.items() for text in (f"--{name.replace('_', '-')}", url)]
    arguments = [*flags, "--output-dir", f"bucket://{tmp_path}/beam", "--runner", "DirectRunner", "--", "--job_name=test"]
    assert make_tfrecords.main(arguments) == 0
    assert f"Records: bucket://{tmp_path}/beam" in capsys.readouterr().out
    convert(synthetic, tmp_path / "local", patient_map=synthetic.patient_map, class_info=synthetic.class_info, test_fraction=TEST)
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")


def test_a_url_without_a_runner(synthetic, tmp_path, capsys):
    arguments = ["--dicom-dir", "gs://bucket/images", "--labels", str(synthetic.labels), "--output-dir", str(tmp_path / "out")]
    assert make_tfrecords.main(arguments) == 2
    assert "'gs://bucket/images' is for Apache Beam (URLs, and flags after --). Give --runner" in capsys.readouterr().err


def test_an_earlier_set_is_kept_unless_told(synthetic, tmp_path):
    beam_runner.convert_on_beam(inputs(synthetic), str(tmp_path / "out"), beam_flags=FLAGS)
    before = contents(tmp_path / "out")
    with pytest.raises(DataError, match="holds an earlier result. Give --overwrite"):
        beam_runner.convert_on_beam(inputs(synthetic), str(tmp_path / "out"), settings.Settings(seed=5), beam_flags=FLAGS)
    assert contents(tmp_path / "out") == before
    beam_runner.convert_on_beam(inputs(synthetic), str(tmp_path / "out"), settings.Settings(seed=5), beam_flags=FLAGS, overwrite=True)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["seed"] == 5
    assert verification.verify(tmp_path / "out") == []


def test_a_bad_file_with_strict_is_told(synthetic, tmp_path):
    import shutil

    folder = Path(shutil.copytree(synthetic.dicom_dir, tmp_path / "in"))
    path = min(folder.iterdir())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match="--strict"):
        beam_runner.convert_on_beam(
            inputs(synthetic, dicom_dir=folder), str(tmp_path / "out"), settings.Settings(strict=True), beam_flags=FLAGS
        )
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_folder_that_is_not_there():
    with pytest.raises(DataError, match="Cannot list nosuch://bucket"):
        list(remote.listing("nosuch://bucket"))


def test_a_folder_with_other_things_is_left_alone_and_leftovers_are_replaced(synthetic, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "train-00000-of-00009.tfrecord").write_bytes(b"of a pipeline that failed")
    (folder / "thesis.txt").write_text("")
    with pytest.raises(DataError, match="holds other things .*thesis.txt"):
        beam_runner.convert_on_beam(inputs(synthetic), str(folder), beam_flags=FLAGS, overwrite=True)
    (folder / "thesis.txt").unlink()
    beam_runner.convert_on_beam(inputs(synthetic), str(folder), beam_flags=FLAGS)
    assert verification.verify(folder) == []
