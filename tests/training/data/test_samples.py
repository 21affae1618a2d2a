import pytest

from liveness_training.data.samples import DataError, Sample, read_index

HEADER = "path,domain,label,attack,subject,sequence"


def write(folder, *lines, header=HEADER, encoding="utf-8"):
    (folder / "index.csv").write_text("\n".join((header, *lines)) + "\n", encoding=encoding)
    return folder


def test_rows_become_samples_in_order(tmp_path):
    rows = ("a/1.jpg,office,live,live,alice,visit1", "a/2.jpg,office,spoof,print,alice,", "b.jpg,hall,live,live,,")
    write(tmp_path, *rows)
    assert read_index(tmp_path) == [
        Sample("a/1.jpg", "office", True, "live", "alice", "visit1"),
        Sample("a/2.jpg", "office", False, "print", "alice", ""),
        Sample("b.jpg", "hall", True, "live", "b.jpg", ""),  # nobody known is a person of one picture
    ]


def test_columns_may_come_in_another_order_and_with_others(tmp_path):
    write(tmp_path, "x,alice,print,spoof,office,1.jpg,", header="note,subject,attack,label,domain,path,sequence")
    assert read_index(tmp_path) == [Sample("1.jpg", "office", False, "print", "alice", "")]


def test_names_may_hold_commas_and_any_letters(tmp_path):
    write(tmp_path, '"jürgen, 2.jpg",büro,live,live,"jürgen, senior",s')
    assert read_index(tmp_path) == [Sample("jürgen, 2.jpg", "büro", True, "live", "jürgen, senior", "s")]


def test_index_saved_by_a_spreadsheet_is_read(tmp_path):
    write(tmp_path, "1.jpg,office,live,live,alice,s", encoding="utf-8-sig")  # with a byte order mark
    assert read_index(tmp_path)[0].path == "1.jpg"


def test_picture_that_is_listed_twice_is_refused(tmp_path):
    write(tmp_path, "1.jpg,office,live,live,alice,s", "1.jpg,hall,live,live,bob,s")
    with pytest.raises(DataError, match=r"1\.jpg is there twice"):
        read_index(tmp_path)


def test_missing_index_is_named(tmp_path):
    with pytest.raises(DataError, match=rf"{tmp_path}/index\.csv does not exist"):
        read_index(tmp_path)


def test_missing_columns_are_named(tmp_path):
    write(tmp_path, "1.jpg,office,live", header="path,domain,label")
    with pytest.raises(DataError, match=r"index\.csv.*lacks attack, subject, sequence"):
        read_index(tmp_path)


@pytest.mark.parametrize("header", [HEADER, ""])
def test_index_without_rows_is_refused(tmp_path, header):
    write(tmp_path, header=header)
    with pytest.raises(DataError, match=r"index\.csv"):
        read_index(tmp_path)


def test_index_in_another_encoding_is_named(tmp_path):
    write(tmp_path, "jürgen.jpg,office,live,live,j,s", encoding="latin-1")
    with pytest.raises(DataError, match=r"index\.csv.*UTF-8"):
        read_index(tmp_path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1.jpg,office,real,live,alice,s", "label is 'real', expected live or spoof"),
        ("1.jpg,office,,live,alice,s", "label is ''"),
        ("1.jpg,office,live,print,alice,s", "contradict"),
        ("1.jpg,office,spoof,live,alice,s", "contradict"),
        (",office,live,live,alice,s", "path and domain must not be empty"),
        ("1.jpg,,live,live,alice,s", "path and domain must not be empty"),
        ("1.jpg,office,spoof,print,alice", "fewer fields"),
        ("1.jpg,office", "fewer fields"),
    ],
)
def test_faulty_row_is_named_by_file_and_line(tmp_path, row, said):
    good = "0.jpg,office,live,live,alice,s"
    write(tmp_path, good, "", good, row, good)
    with pytest.raises(DataError, match=said) as raised:
        read_index(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path}/index.csv, line 5:")  # the header is 1, the empty line 3


def test_video_is_told_by_its_suffix(tmp_path):
    names = ("a.mp4", "b.MOV", "c.avi", "d.webm", "e.jpg", "f.mp4.png", "g")
    write(tmp_path, *(f"{name},office,live,live,alice," for name in names))
    samples = read_index(tmp_path)
    assert [sample.is_video for sample in samples] == [True, True, True, True, False, False, False]
    assert {sample.frame for sample in samples} == {None}


@pytest.mark.parametrize(("written", "read"), [("train", "train"), ("dev", "dev"), ("devel", "dev"), ("test", "test")])
def test_column_says_the_split(tmp_path, written, read):
    write(tmp_path, f"1.jpg,office,live,live,alice,s,{written}", header=f"{HEADER},split")
    assert read_index(tmp_path)[0].split == read


@pytest.mark.parametrize(("folder", "read"), [("train", "train"), ("dev", "dev"), ("devel", "dev"), ("test", "test")])
def test_second_folder_says_the_split(tmp_path, folder, read):
    write(tmp_path, f"set/{folder}/al/1.jpg,office,live,live,al,s")
    assert read_index(tmp_path)[0].split == read


@pytest.mark.parametrize("path", ["train/1.jpg", "set/train", "set/pictures/train/1.jpg", "set/Validation/1.jpg"])
def test_no_other_part_of_a_path_says_a_split(tmp_path, path):
    write(tmp_path, f"{path},office,live,live,al,s")
    assert read_index(tmp_path)[0].split is None


def test_second_folder_says_the_split_where_the_column_does_not(tmp_path):
    rows = ("a/test/1.jpg,a,live,live,al,s,train", "a/test/2.jpg,a,live,live,bo,s,", "a/x/3.jpg,a,live,live,cy,s,")
    write(tmp_path, *rows, header=f"{HEADER},split")
    assert [sample.split for sample in read_index(tmp_path)] == ["train", "test", None]
    write(tmp_path, *(row.rpartition(",")[0] for row in rows))
    assert [sample.split for sample in read_index(tmp_path)] == ["test", "test", None]


def test_unknown_split_is_named_by_line(tmp_path):
    write(tmp_path, "1.jpg,a,live,live,al,s,train", "2.jpg,a,live,live,al,s,validation", header=f"{HEADER},split")
    with pytest.raises(DataError, match=r"index\.csv, line 3: split is 'validation', expected train, devel, dev, test"):
        read_index(tmp_path)


def test_column_says_what_is_known_of_the_attack(tmp_path):
    header = f"detail,{HEADER}"
    write(tmp_path, "laser printer,1.jpg,a,spoof,print,al,s", ",2.jpg,a,live,live,al,s", header=header)
    assert [sample.detail for sample in read_index(tmp_path)] == ["laser printer", ""]


def test_real_index_is_read(pad_data):
    samples = read_index(pad_data)
    assert len(samples) == 11_400
    assert {sample.domain for sample in samples} == {"casia_fasd", "celeba_spoof", "lfw_gray", "nuaa", "replay_attack"}
    assert sum(sample.live for sample in samples if sample.domain == "replay_attack") == 1600
    assert {sample.species for sample in samples if not sample.live} == {"print", "warped_print", "cut_print", "replay"}
    assert all((pad_data / sample.path).is_file() for sample in samples[::100])
