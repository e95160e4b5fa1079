"""Names that no file can have, in flags, files and archives of others: a sentence, or no such file, and never an OSError."""

import dataclasses
import zipfile

import pytest

from pneumodet.core import folders, given, paths
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import formats, sources
from pneumodet.models import settings

LONG, ZERO = "n" * 300, "a\0b"


@pytest.mark.parametrize("name", [LONG, f"{LONG}/a", ZERO])
def test_there_is_no_such_file(name, tmp_path):
    path = tmp_path / name
    assert (paths.exists(path), paths.is_file(path), paths.is_dir(path), paths.size_of(path)) == (False, False, False, None)


@pytest.mark.parametrize("check", [given.file, given.folder, given.file_or_folder])
def test_a_flag_with_such_a_name(check, tmp_path):
    with pytest.raises(ConfigError, match="n{300}"):
        check(str(tmp_path / LONG))


def test_an_output_folder_with_such_a_name(tmp_path):
    with pytest.raises(DataError, match="Cannot write in .*too long"):
        folders.check_free(tmp_path / LONG, marker="a.json", overwrite=False)


@pytest.mark.parametrize("train", [LONG, "images.txt"])
def test_yolo_that_names_such_images(train, tmp_path):
    (tmp_path / "data.yaml").write_text(f"names: [pneumonia]\ntrain: {train}\n")
    (tmp_path / "images.txt").write_text(f"{LONG}.png\n")
    with pytest.raises(DataError, match="there is no"):
        formats.read_labels(tmp_path / "data.yaml")


def test_members_of_an_archive(tmp_path):
    """A name that is both a file's and a folder's, and names that cannot be unpacked: nothing is unpacked, all are read where they are."""
    names = ("a.png", "a.png/b.png", f"{LONG}.png", f"{LONG}/{LONG}.png", "../c.png", "/d.png")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for name in names:
            archive.writestr(name, name)
    files, refused = sources.find_radiographs(tmp_path / "in.zip", images=True)
    assert {one.read_bytes().decode() for one in files.values()} | {path for path, _ in refused} == set(names)


@dataclasses.dataclass(frozen=True)
class Nothing:
    """Settings without a field."""


def test_toml_that_is_nested_deeply(tmp_path):
    (tmp_path / "config.toml").write_text("a = " + "[" * 20_000)
    with pytest.raises(ConfigError, match="is no TOML file"):
        settings.load(Nothing, tmp_path / "config.toml", folder=tmp_path)
