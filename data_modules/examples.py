"""`python -m data_modules.examples clips|clouds|pictures|masks|questions OUT`: a tiny *synthetic* folder of such files.

    clips       24 videos of ten seconds and manifest.csv: when a dog, a helicopter or a violin is seen and heard
    clouds      36 scans of chairs, tables and sofas, in class folders
    pictures    48 pictures from above, of field, forest and water, with their ground sampling distance in manifest.csv
    masks       24 pictures of round and spindle cells in images, and their masks in masks
    questions   60 questions about such pictures, in manifest.jsonl

They are drawn by the generators of the synthetic sets, show what a folder may look like (`data=folder data.root=OUT`),
and say nothing about real files.
"""

import csv
import json
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from data_modules.synthetic.furniture import FURNITURE
from data_modules.synthetic_cells import CellPicture
from data_modules.synthetic_events import CLASSES as EVENTS
from data_modules.synthetic_events import SEGMENTS, SyntheticClips
from data_modules.synthetic_scans import simulate_scan
from data_modules.synthetic_scenes import SceneSet
from zoo.batch import Clip
from zoo.wording import asks_help

SEED = 5

FRAMES = 2
"""Pictures a second: a clip has one a second, which stands still."""

HEARD = ("dog", "helicopter", "violin")

CLIPS, SCANS, PICTURES, MASKS, QUESTIONS = 24, 36, 48, 24, 60

FURNISHED = ("chair", "table", "sofa")

COVERS = ("field", "forest", "water")

POINTS = 1024

CELLS = 128
"""Pixels of a picture of cells, along a side."""


def clips(out: Path) -> None:
    """Videos, and manifest.csv of path, start, end and label in seconds."""
    source = SyntheticClips("train", CLIPS // len(HEARD) * len(EVENTS), seed=SEED, image_size=112)
    rows = [("path", "start", "end", "label")]
    for name in HEARD:
        for index in range(EVENTS.index(name), len(source), len(EVENTS)):
            file = f"{name.replace(' ', '_')}_{index:03d}.mp4"
            write_clip(out / file, source[index])
            inside = [t for t, label in enumerate(source.script(index).segments()) if label < len(EVENTS)]
            rows.append((file, str(inside[0]), str(inside[-1] + 1), name))
    write_table(out / "manifest.csv", rows)


def write_clip(path: Path, clip: Clip) -> None:
    """An MPEG-4 + AAC file: picture t stands from second t to t + 1."""
    side, rate = clip.frames.shape[1], clip.sample_rate
    with av.open(str(path), "w") as file:
        video = file.add_stream("mpeg4", rate=FRAMES)
        video.width = video.height = side
        video.pix_fmt, video.bit_rate = "yuv420p", 1_000_000
        audio = file.add_stream("aac", rate=rate, layout="mono")
        for k in range(SEGMENTS * FRAMES):
            picture = av.VideoFrame.from_ndarray(clip.frames[k // FRAMES], format="rgb24")
            picture.pts, picture.time_base = k, Fraction(1, FRAMES)
            file.mux(video.encode(picture))
        file.mux(video.encode())
        wave = clip.audio.reshape(1, -1)
        for start in range(0, wave.shape[1], 1024):
            piece = np.ascontiguousarray(wave[:, start : start + 1024])
            sound = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            sound.sample_rate, sound.pts = rate, start
            file.mux(audio.encode(sound))
        file.mux(audio.encode())


def clouds(out: Path) -> None:
    """Tables of x, y and z in metres, y up, in a folder a class."""
    for index in range(SCANS):
        name = FURNISHED[index % len(FURNISHED)]
        rng = np.random.default_rng([SEED, index])
        folder = out / name
        folder.mkdir(exist_ok=True)
        np.savetxt(folder / f"{name}_{index:03d}.xyz", simulate_scan(rng, FURNITURE[name](rng), POINTS), fmt="%.4f")


def pictures(out: Path) -> None:
    """PNG files, and manifest.csv of path, label and gsd in metres per pixel."""
    source = SceneSet("train", 2 * PICTURES, kinds=("land_use",), scale_share=0, metadata=1, seed=SEED)
    rows = [("path", "label", "gsd")]
    for index in range(len(source)):
        ground, gsd = source.record(index).scene.ground, float(source.conditions(index)["gsd"])
        if ground in COVERS and len(rows) <= PICTURES:
            Image.fromarray(source[index].images[0]).save(out / f"{index:03d}.png")
            rows.append((f"{index:03d}.png", ground, f"{gsd:.3f}"))
    write_table(out / "manifest.csv", rows)


def masks(out: Path) -> None:
    """PNG files: grey pictures, and the number of every pixel's class: 0 background, 1 round, 2 spindle."""
    for part in ("images", "masks"):
        (out / part).mkdir(exist_ok=True)
    for index in range(MASKS):
        drawn = CellPicture("train", index, CELLS, SEED)
        Image.fromarray(drawn.image()[0]).save(out / "images" / f"{index:03d}.png")
        Image.fromarray(drawn.labels()).save(out / "masks" / f"{index:03d}.png")


def questions(out: Path) -> None:
    """PNG files, and manifest.jsonl of path, question, choices, answer, gsd and kind."""
    source = SceneSet("train", QUESTIONS, kinds=("object", "count"), scale_share=0.5, metadata=1, seed=SEED)
    lines = []
    for index in range(len(source)):
        question = source.question(index)
        Image.fromarray(source[index].images[0]).save(out / f"{index:03d}.png")
        line = {"path": f"{index:03d}.png", "question": question.text, "choices": list(question.choices)}
        answer, gsd = question.choices["ABCD".index(question.answer)], round(float(source.conditions(index)["gsd"]), 3)
        lines.append(json.dumps(line | {"answer": answer, "gsd": gsd, "kind": question.kind}))
    (out / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """A CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


KINDS: dict[str, Callable[[Path], None]] = {make.__name__: make for make in (clips, clouds, pictures, masks, questions)}


def main(argv: Sequence[str] | None = None) -> int:
    """Write one kind into a folder that is new or empty; 2 on a wrong command."""
    usage = f"usage: python -m data_modules.examples {'|'.join(KINDS)} OUT"
    match sys.argv[1:] if argv is None else list(argv):
        case words if asks_help(words):
            print(f"{(__doc__ or '').strip()}\n\n{usage}")
            return 0
        case [kind, folder] if kind in KINDS:
            out = Path(folder)
            if out.is_dir() and any(out.iterdir()):
                print(f"error: {out} is not empty; expected a new folder", file=sys.stderr)
                return 2
            out.mkdir(parents=True, exist_ok=True)
            KINDS[kind](out)
            print(f"{out}: {sum(path.is_file() for path in out.rglob('*'))} files, made by a program")
            return 0
    print(usage, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
