"""Whatever is wrong with a user's own files is said before training: the place, what was expected, what to do."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import own_files
import pytest

from data_modules.errors import DataError
from data_modules.folder.own_files import OwnFiles
from data_modules.folder_clips import ClipFolder
from data_modules.folder_clouds import CloudFolder, PartFolder
from data_modules.folder_pictures import OpenQuestionFolder, PictureFolder, QuestionFolder
from zoo.errors import SettingError

SHORT = {"segments": 4, "segment_seconds": 0.5, "frame_size": 32}
EVENTS = "path,start,end,label"


def set_up(data: OwnFiles) -> OwnFiles:
    data.setup()
    return data


Make = Callable[[Path], OwnFiles]


def of_clouds(write: Callable[[Path], Any], **settings: Any) -> Make:
    def make(root: Path) -> OwnFiles:
        write(root)
        return CloudFolder(root=str(root), points=16, **settings)

    return make


def of_clips(*rows: str, header: str = EVENTS, **settings: Any) -> Make:
    def make(root: Path) -> OwnFiles:
        own_files.table(root, header, *rows, *(f"{n}{k}.mp4,0,1,{n}" for n in "xy" for k in range(3)))
        for path in (row.partition(",")[0] for row in (root / "manifest.csv").read_text().splitlines()[1:]):
            if not (root / path).exists():
                own_files.clip(root / path, len(list(root.glob("*.mp4"))))
        return ClipFolder(root=str(root), **SHORT, **settings)

    return make


def of_pictures(header: str, *rows: str, kind: type[OwnFiles] = PictureFolder, **settings: Any) -> Make:
    def make(root: Path) -> OwnFiles:
        own_files.table(root, header, *rows, make=own_files.picture)
        return kind(root=str(root), **settings)

    return make


def listed(*rows: str, header: str = "path,label", each: int = 4) -> Callable[[Path], Any]:
    """Clouds, and a manifest of these rows."""

    def write(root: Path) -> None:
        own_files.clouds(root, each)
        own_files.table(root, header, *rows)

    return write


def broken(root: Path) -> None:
    (own_files.clouds(root) / "ball/0.xyz").write_text("one two three\n")
    (root / "ball/1.xyz").write_text("")


def emptied(root: Path) -> None:
    own_files.clouds(root)
    (root / "chair").mkdir()
    (root / "chair/notes.doc").write_text("x")


def mixed(root: Path) -> None:
    own_files.clouds(root / "train")
    own_files.clouds(root / "validation")


def latin(root: Path) -> None:
    own_files.clouds(root)
    (root / "manifest.csv").write_bytes("path,label\nball/0.xyz,stühle\n".encode("latin-1"))


def contradicting(root: Path) -> None:
    own_files.clouds(root)
    shutil.copy(root / "ball/0.xyz", root / "stick/same.xyz")


def apart(root: Path) -> None:
    own_files.clouds(root)
    rows = [
        f"{name}/{k}.xyz,{name},{split},g{k % 2}"
        for name in own_files.SPREADS
        for k, split in enumerate(("train", "val", "test"))
    ]
    own_files.table(root, "path,label,split,group", *rows)


def untrained(root: Path) -> None:
    own_files.clouds(root / "train", 3, ["ball", "stick"])
    own_files.clouds(root / "test", 1, ["a", "b", "plate"])
    shutil.rmtree(root / "test/a")
    shutil.rmtree(root / "test/b")


ASKED = "path,question,choices,answer"
MISTAKES: dict[str, tuple[Make, str]] = {
    "no folder": (lambda root: CloudFolder(root=str(root / "none")), r"data.root: .*none is no folder"),
    "an empty folder": (of_clouds(lambda root: root.mkdir()), r"holds no folders; expected one a class"),
    "files without class folders": (of_clouds(lambda root: own_files.cloud(root / "a.xyz", 0)), r"holds no folders"),
    "splits without class folders": (
        of_clouds(lambda root: own_files.cloud(root / "train/a.xyz", 0)),
        r"train holds files, but no class folders",
    ),
    "a split of another name": (
        of_clouds(mixed),
        r"validation beside splits, which are called train, val, test; rename or move",
    ),
    "a class without files": (of_clouds(emptied), r"chair: no file that can be read; expected point clouds \(.txt"),
    "one class": (of_clouds(lambda root: own_files.clouds(root, 5, ["ball"])), r"one class alone \(ball\)"),
    "two spellings of a class": (
        of_clouds(lambda root: own_files.clouds(root, 5, ["Ball", "ball"])),
        r"/.*: classes 'Ball' and 'ball' differ in capitals alone",
    ),
    "too few files": (
        of_clouds(lambda root: own_files.clouds(root, 2)),
        r"too few groups of files to divide: 'ball' has 2, .* expected 3 or more a class",
    ),
    "a class that is tested alone": (of_clouds(untrained), r"plate: in val or test, but not in train"),
    "unreadable files": (
        of_clouds(broken),
        r"2 of 15 files cannot be used: .*ball/0.xyz.*on_bad=skip leaves such files out",
    ),
    "one file, two labels": (
        of_clouds(contradicting),
        r"ball/0.xyz and stick/same.xyz are the same file, but labelled 'ball' and 'stick'",
    ),
    "shares above all": (
        of_clouds(own_files.clouds, val_share=0.6, test_share=0.6),
        r"val_share \+ data.test_share = 1.2",
    ),
    "no regular expression": (
        of_clouds(own_files.clouds, group_by="(room"),
        r"data.group_by: '\(room' is no regular expression",
    ),
    "a group that nobody has": (
        of_clouds(own_files.clouds, group_by="room"),
        r"15 mistakes:\n.*'room' is nowhere in 'ball/0.xyz'",
    ),
    "a class that is not listed": (
        of_clouds(own_files.clouds, classes=("ball", "stick")),
        r"data.classes: plate not in ball, stick",
    ),
    "no splits.json": (of_clouds(own_files.clouds, splits="none.json"), r"data.splits: none.json does not exist"),
    "no manifest of that name": (
        of_clouds(own_files.clouds, manifest="list.csv"),
        r"list.csv cannot be read: No such file",
    ),
    "no UTF-8": (of_clouds(latin), r"manifest.csv, line 2: byte 0xfc is no UTF-8"),
    "an unknown column": (
        of_clouds(listed("ball/0.xyz,ball", header="path,lable")),
        r"unknown column 'lable'. Did you mean 'label'\?",
    ),
    "clips given as clouds": (
        of_clouds(listed("a.mp4,0,1,dog", header="path,start,end,label")),
        r"unknown column 'start'. A list of point clouds has the columns path, label, split, group",
    ),
    "pictures given as clouds": (
        lambda root: CloudFolder(root=str(own_files.pictures(root))),
        r"no file that can be read; expected point clouds \(",
    ),
    "clouds given as questions": (
        lambda root: QuestionFolder(root=str(own_files.clouds(root))),
        r"expected one with the columns path, question, answer, choices of questions about pictures",
    ),
    "a lacking column": (of_clouds(listed("ball/0.xyz", header="path")), r"no column label; expected path, label"),
    "a column twice": (of_clouds(listed("a,b,c", header="path,label,label")), r"column 'label' stands twice"),
    "cells too many": (
        of_clouds(listed("ball/0.xyz,ball,big")),
        r"line 2: expected 2 cells; quote text that contains ','",
    ),
    "an empty cell": (of_clouds(listed("ball/0.xyz,")), r"line 2: label is empty"),
    "nothing listed": (of_clouds(listed()), r"manifest.csv lists no file"),
    "a path that leads out": (of_clouds(listed("../ball/0.xyz,ball")), r"line 2: '../ball/0.xyz' lies outside of"),
    "a path of this machine": (of_clouds(listed("/etc/hosts,ball")), r"line 2: '/etc/hosts' lies outside of"),
    "a missing file": (of_clouds(listed("ball/9.xyz,ball")), r"line 2: .*ball/9.xyz does not exist"),
    "a file of another kind": (
        of_clouds(listed("manifest.csv,ball", "manifest.jsonl,ball")),
        r"manifest.jsonl does not exist",
    ),
    "a file listed twice": (
        of_clouds(listed("ball/0.xyz,ball", "ball/0.xyz,stick")),
        r"line 3: ball/0.xyz is listed also in .*line 2",
    ),
    "an unknown split": (
        of_clouds(listed("ball/0.xyz,ball,dev", header="path,label,split")),
        r"line 2: split 'dev' is none of train, val, test",
    ),
    "a split for some": (
        of_clouds(listed("ball/0.xyz,ball,train", "stick/0.xyz,stick,", header="path,label,split")),
        r"1 files have no split, e.g. stick/0.xyz",
    ),
    "a group in two splits": (
        of_clouds(apart),
        r"6 files have a copy, or a file of their group, in another split.*group 'g0'",
    ),
    "an event that goes backwards": (
        of_clips("a.mp4,2,1,dog"),
        r"line 2: 'dog' from 2 to 1 s; expected 0 <= start < end",
    ),
    "an event after the clip": (
        of_clips("a.mp4,3,5,dog"),
        r"line 2: 'dog' from 3 to 5 s lies outside of the clip, 2 s long; data.segments=10",
    ),
    "a time that is no number": (of_clips("a.mp4,1,1.x,dog"), r"line 2: end '1.x' is no number"),
    "half an interval": (of_clips("a.mp4,1,,dog"), r"line 2: start '1', end ''; expected both"),
    "an interval of nothing": (of_clips("a.mp4,0,1,"), r"line 2: no label"),
    "events at one time": (
        of_clips("a.mp4,0,1.5,dog", "a.mp4,1,2,bell"),
        r"line 3: 'bell' from 1 s overlaps 'dog', which lasts until 1.5 s",
    ),
    "centimetres for metres": (
        of_pictures("path,label,gsd", "a.png,x,5000", "b.png,y,"),
        r"line 2: gsd = 5000; expected metres per pixel",
    ),
    "no number of metres": (
        of_pictures("path,label,gsd", "a.png,x,fine", "b.png,y,"),
        r"line 2: gsd 'fine' is no number",
    ),
    "questions in class folders": (
        lambda root: QuestionFolder(root=str(own_files.pictures(root))),
        r"has no manifest.csv or manifest.jsonl; expected one with the columns path, question, answer, choices",
    ),
    "an answer that is no choice": (
        of_pictures(ASKED, "a.png,What?,field|water,forest", kind=QuestionFolder),
        r"line 2: answer 'forest' is none of the choices field, water",
    ),
    "one choice": (
        of_pictures(ASKED, "a.png,What?,field,field", kind=QuestionFolder),
        r"line 2: choices 'field'; expected 2 to 26",
    ),
    "choices of an open question": (
        of_pictures(ASKED, "a.png,What?,field|water,field", kind=OpenQuestionFolder),
        r"unknown column 'choices'",
    ),
    "parts without a column": (
        lambda root: PartFolder(root=str(own_files.clouds(root))),
        r"has 3 columns; expected x y z ... part",
    ),
    "a subset of labelled points": (
        lambda root: PartFolder(root=str(own_files.parts(root)), augment=("subset",)),
        r"subset would part points from their labels",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_is_named_before_training(tmp_path: Path, mistake: str) -> None:
    make, message = MISTAKES[mistake]
    with pytest.raises((DataError, SettingError), match=f"(?s){message}"):
        make(tmp_path / "own").setup()


def test_several_mistakes_of_a_manifest_are_said_at_once(tmp_path: Path) -> None:
    listed("ball/0.xyz,", "../x.xyz,ball", "ball/7.xyz,ball")(tmp_path)
    with pytest.raises(DataError, match=r"(?s)3 mistakes:.*line 2.*line 3.*line 4"):
        set_up(CloudFolder(root=str(tmp_path)))


def test_files_that_cannot_be_used_are_left_out_and_counted_where_that_is_wished(tmp_path: Path) -> None:
    broken(tmp_path)
    data = set_up(CloudFolder(root=str(tmp_path), points=16, on_bad="skip"))
    assert data.remarks["files that cannot be used: left out"] == 2
    assert sum(len(samples) for samples in data.sets.values()) == 13
    assert data.report()["remarks"] == data.remarks


def test_an_event_after_the_end_of_its_file_is_an_error(tmp_path: Path) -> None:
    make = of_clips("a.mp4,3,3.5,dog")
    data = make(tmp_path)
    data.segments = 8
    with pytest.raises(DataError, match=r"line 2: 'dog' begins at 3 s, but the clip has 2"):
        data.setup()
