"""Finding radiographs in folders and archives."""

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.processes import Pool
from pneumodet.data import file_kinds, listing, sources, synthetic


def find(folder, **arguments):
    """Return (exam -> path as it is shown, refused)."""
    files, refused = sources.find_radiographs(folder, **arguments)
    return {exam: Path(str(source)) for exam, source in files.items()}, refused


@pytest.fixture
def dicoms(tmp_path):
    """Return (folder, function that writes a DICOM of a given PatientID below it)."""
    folder = tmp_path / "in"
    folder.mkdir()

    def write(name, patient_id="somebody"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        synthetic.write_dicom(path, np.zeros((8, 8), np.uint8), patient_id=patient_id, rng=np.random.default_rng(0))
        return path

    return folder, write


def test_nested_hidden_and_other_files(dicoms):
    folder, write = dicoms
    a, b, c = write("a.dcm"), write("deep/er/b.DCM"), write("c")
    for name in (".hidden.dcm", ".thumbnails/d.dcm", "picture.png", "notes.csv"):
        write(name)
    files, refused = find(folder)
    assert files == {"a": a, "b": b, "c": c}
    assert refused == []


def test_hidden_parents_of_the_folder_do_not_matter(dicoms):
    folder, write = dicoms
    path = write(".data/in/a.dcm")
    assert find(folder / ".data" / "in")[0] == {"a": path}


def test_files_named_by_uid_have_no_suffix(dicoms):
    folder, write = dicoms
    path, other = write("1.2.840.10008.77"), write("1.2.840.10008.78.dcm")
    assert find(folder) == ({"1.2.840.10008.77": path, "1.2.840.10008.78": other}, [])


def test_names_are_matched_by_name_then_by_patient_id(dicoms):
    folder, write = dicoms
    paths = {"known-1": write("known-1.dcm", "known-3"), "known-2": write("IM0001", "known-2"), "IM0002": write("IM0002", "stranger")}
    assert find(folder, known={"known-1", "known-2"}) == (paths, [])


def test_known_names_are_not_opened(dicoms):
    folder, _ = dicoms
    (folder / "known.dcm").write_bytes(b"no DICOM, which conversion will find out")
    assert list(find(folder, known={"known"})[0]) == ["known"]


def test_duplicates_and_other_things_are_listed(dicoms):
    folder, write = dicoms
    first = write("a/exam.dcm")
    write("b/exam.dcm")
    write("z.dcm", "exam")
    (folder / "README").write_text("hello")
    (folder / "broken.dcm").write_bytes(b"")
    files, refused = find(folder, known={"exam"})
    assert files == {"exam": first}
    assert sorted(refused) == [
        ("README", "not a DICOM file"),
        (os.path.join("b", "exam.dcm"), "a second file of exam exam"),
        ("broken.dcm", "not a DICOM file"),
        ("z.dcm", "a second file of exam exam"),
    ]


def test_a_file_of_the_exams_name_goes_before_one_of_its_patient_id(dicoms):
    folder, write = dicoms
    write("a.dcm", "exam")
    path = write("exam.dcm", "exam")
    assert find(folder, known={"exam"}) == ({"exam": path}, [("a.dcm", "a second file of exam exam")])


def test_no_dicom(tmp_path):
    with pytest.raises(DataError, match=r"There is no DICOM file in .*\.$"):
        find(tmp_path)
    (tmp_path / "README").write_text("hello")
    with pytest.raises(DataError, match=r"no DICOM file in .* 1 files there are something else"):
        find(tmp_path)


def archive(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, file in files.items():
            target.write(file, name)


def test_a_file_that_is_no_dicom_does_not_take_an_exams_place(dicoms):
    folder, write = dicoms
    (folder / "a").mkdir()
    (folder / "a" / "exam.dcm").write_text("hello")
    path = write("b/exam.dcm", "stranger")
    write("c/exam.dcm", "stranger")
    files, refused = find(folder, known={"exam"})
    assert files == {"exam": path}
    assert refused == [("exam.dcm", "not a DICOM file"), (os.path.join("c", "exam.dcm"), "a second file of exam exam")]


def test_an_earlier_output_among_the_inputs_is_passed_over(dicoms):
    folder, write = dicoms
    path = write("a.dcm")
    (folder / "records" / "fold-0").mkdir(parents=True)
    (folder / "records" / "train-00000-of-00001.tfrecord").write_bytes(b"")
    (folder / "records" / "quality.png").write_bytes(b"")
    (folder / "records" / "fold-0" / "b.png").write_bytes(b"")
    assert find(folder, images=True) == ({"a": path}, [])


def test_links_and_odd_suffixes(dicoms):
    folder, write = dicoms
    path = write("a/1.v2")
    (folder / "elsewhere").symlink_to(write("../other/b.dcm").parent)
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "gone.dcm").symlink_to(folder / "nowhere")
    (folder / "a" / "note.v2").write_text("no DICOM")
    files, refused = find(folder)
    assert files == {"1.v2": path, "b": folder / "elsewhere" / "b.dcm"}
    assert sorted(refused) == [("a/note.v2", file_kinds.NO_KIND), ("gone.dcm", "a broken link")]


def test_archives_are_folders(dicoms):
    folder, write = dicoms
    a, b = write("a.dcm"), write("b.dcm")
    archive(folder / "deep.ZIP", {"x/a2.dcm": a, "b2": b, ".hidden.dcm": a, "__MACOSX/x/a3.dcm": a, "notes.txt": a})
    files, refused = sources.find_radiographs(folder)
    assert refused == []
    assert {exam: str(source)[len(str(folder)) + 1 :] for exam, source in files.items()} == {
        "a": "a.dcm",
        "b": "b.dcm",
        "a2": "deep.ZIP/x/a2.dcm",
        "b2": "deep.ZIP/b2",
    }
    assert files["a2"].read_bytes() == a.read_bytes() == files["a"].read_bytes()
    assert (files["a2"].name, files["a2"].size) == ("a2.dcm", a.stat().st_size)
    alone, _ = sources.find_radiographs(folder / "deep.ZIP")
    assert list(alone) == ["b2", "a2"]


def test_archives_that_are_none_or_damaged(dicoms):
    folder, write = dicoms
    path = write("a.dcm")
    (folder / "broken.zip").write_bytes(b"PK\x03\x04 nothing")
    archive(folder / "cut.zip", {"b.dcm": path})
    data = bytearray((folder / "cut.zip").read_bytes())
    data[60:80] = bytes(20)
    (folder / "cut.zip").write_bytes(data)
    files, refused = sources.find_radiographs(folder, match="file-name")
    assert refused == [("broken.zip", "not a ZIP archive")]
    with pytest.raises(DataError, match=r"cut\.zip/b\.dcm cannot be read: the archive is damaged"):
        files["b"].read_bytes()
    with pytest.raises(DataError, match="broken.zip is neither a folder nor a ZIP archive"):
        sources.find_radiographs(folder / "broken.zip")


def test_a_huge_file_is_refused_before_it_is_read(dicoms):
    folder, _ = dicoms
    with open(folder / "huge.dcm", "wb") as file:
        file.truncate(listing.MAX_FILE_BYTES + 1)
    files, _ = sources.find_radiographs(folder, match="file-name")
    with pytest.raises(DataError, match=r"huge\.dcm has 1073741825 bytes; 1073741824 are allowed"):
        files["huge"].read_bytes()


def test_pictures_count_where_they_are_wanted_and_dicom_goes_first(dicoms):
    folder, write = dicoms
    path = write("z/a.dcm", "stranger")
    for name in ("a.png", "b.JPG", "c.jpeg"):
        (folder / name).write_bytes(b"looked at later")
    assert find(folder) == ({"a": path}, [])
    files, refused = find(folder, images=True)
    assert files == {"a": path, "b": folder / "b.JPG", "c": folder / "c.jpeg"}
    assert refused == [("a.png", "a second file of exam a")]
    shutil.rmtree(folder / "z")
    for name in ("a.png", "b.JPG", "c.jpeg"):
        (folder / name).unlink()
    with pytest.raises(DataError, match="There is no DICOM or image file"):
        find(folder, images=True)


@pytest.mark.parametrize(
    ("match", "known", "expected"),
    [
        pytest.param("auto", {"one"}, {"one": "one.dcm", "two": "two.dcm", "three": "three.dcm"}, id="names where nothing else is known"),
        pytest.param("auto", {"P2", "P3"}, {"one": "one.dcm", "P2": "two.dcm", "P3": "three.dcm"}, id="PatientID"),
        pytest.param("auto", {"UID"}, {"one": "one.dcm", "two": "two.dcm", "three": "three.dcm"}, id="a UID that no file has"),
        pytest.param("file-name", {"P2"}, {"one": "one.dcm", "two": "two.dcm", "three": "three.dcm"}, id="only names"),
        pytest.param("patient-id", {"one"}, {"P1": "one.dcm", "P2": "two.dcm", "P3": "three.dcm"}, id="only PatientID"),
    ],
)
def test_match(dicoms, match, known, expected):
    folder, write = dicoms
    for number, name in enumerate(("one", "two", "three"), start=1):
        write(f"{name}.dcm", f"P{number}")
    files, refused = find(folder, known=known, match=match)
    assert ({exam: path.name for exam, path in files.items()}, refused) == (expected, [])


@pytest.mark.parametrize("match", ["auto", "sop-instance-uid"])
def test_match_by_sop_instance_uid(dicoms, match):
    import pydicom

    folder, write = dicoms
    path = write("IM1.dcm", "P1")
    uid = str(pydicom.dcmread(path).SOPInstanceUID)
    assert find(folder, known={uid}, match=match) == ({uid: path}, [])


def test_unknown_match(tmp_path):
    with pytest.raises(ConfigError, match="match is 'name', must be one of 'auto'"):
        sources.find_radiographs(tmp_path, match="name")


def test_headers_are_read_in_order_by_any_number_of_processes(dicoms):
    folder, write = dicoms
    files, _ = sources.find_radiographs(write("0.dcm", "P0").parent, match="file-name")
    for number in range(1, 300):
        shutil.copyfile(folder / "0.dcm", folder / f"{number}.dcm")
    (folder / "260.dcm").write_bytes(b"no DICOM")
    write("261.dcm", "P261")
    files, _ = sources.find_radiographs(folder, match="file-name")
    listed = [files[str(number)] for number in range(300)]
    with Pool(2) as pool:
        headers = sources.read_headers(listed, pool)
    assert headers == sources.read_headers(listed, Pool())
    assert [header and header.patient_id for header in headers] == ["P0"] * 260 + [None, "P261"] + ["P0"] * 38
