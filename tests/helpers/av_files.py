"""Made-up files in the true layouts of AVE, LLP, OV-AVEBench and GRID: small media, labels in real formats."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image


def write_clip(
    path: Path,
    *,
    seconds: float = 10,
    rate: int = 16_000,
    channels: int = 1,
    fps: int = 4,
    sound: bool = True,
    loudness: float = 0.5,
    seed: int = 0,
) -> None:
    """An MPEG-4 + AAC clip whose grey level counts the seconds (20 * second) and whose sound is a 440 Hz tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=fps)
        video.width = video.height = 48
        video.pix_fmt = "yuv420p"
        audio = out.add_stream("aac", rate=rate, layout="mono" if channels == 1 else "stereo") if sound else None
        for k in range(round(seconds * fps)):
            picture = np.full((48, 48, 3), 20 * (k // fps), np.uint8)
            picture[:8, :8] += rng.integers(0, 5, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, fps)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        if audio is not None:
            wave = loudness * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
            planes = np.tile(wave.astype(np.float32), (channels, 1))
            for start in range(0, planes.shape[1], 1024):
                chunk = np.ascontiguousarray(planes[:, start : start + 1024])
                sound_frame = av.AudioFrame.from_ndarray(
                    chunk, format="fltp", layout="mono" if channels == 1 else "stereo"
                )
                sound_frame.sample_rate, sound_frame.pts = rate, start
                out.mux(audio.encode(sound_frame))
            out.mux(audio.encode())


AVE_ROWS = {
    "train": ["Bark&-a_b&good&0&10", "Male speech, man speaking&cc_0&good&2&7"],
    "val": ["Flute&vv1&good&0&4"],
    "test": ["Bark&tt1&good&3&10", "Flute&-a_b&good&0&5"],
}


def ave(root: Path, *, header: bool = False) -> Path:
    """AVE's layout: five rows over four videos, one id of test also in train."""
    first = ["Category&VideoID&Quality&StartTime&EndTime"] if header else []
    root.mkdir(parents=True, exist_ok=True)
    for split, rows in AVE_ROWS.items():
        (root / f"{split}Set.txt").write_text("\n".join(rows) + "\n")
    every = [row for rows in AVE_ROWS.values() for row in rows]
    (root / "Annotations.txt").write_text("\n".join(first + every) + "\n")
    for video in {row.split("&")[1] for row in every}:
        write_clip(root / "AVE" / f"{video}.mp4")
    return root


LLP_LISTS = {
    "AVVP_train.csv": ["-bcdefghijk_0_10\tSpeech,Dog", "lm_opqrstuv_20_30\tCar"],
    "AVVP_val_pd.csv": ["valvalvalva_0_10\tSpeech"],
    "AVVP_test_pd.csv": ["testtesttes_5_15\tDog,Car"],
}
LLP_EVENTS = {
    "AVVP_eval_audio.csv": [
        "valvalvalva_0_10\t0\t4\tSpeech",
        "testtesttes_5_15\t2\t9\tDog",
        "strangerfil_0_10\t0\t1\tCar",
    ],
    "AVVP_eval_visual.csv": ["valvalvalva_0_10\t0\t10\tSpeech", "testtesttes_5_15\t9\t0\tCar"],
}


def llp(root: Path) -> Path:
    """LLP's layout: four videos; one row of a file in no split, one event that ends before it begins."""
    root.mkdir(parents=True, exist_ok=True)
    for name, rows in LLP_LISTS.items():
        (root / name).write_text("\n".join(["filename\tevent_labels", *rows]) + "\n")
        for row in rows:
            write_clip(root / "LLP_dataset" / "video" / f"{row[:11]}.mp4")
    for name, rows in LLP_EVENTS.items():
        (root / name).write_text("\n".join(["filename\tonset\toffset\tevent_labels", *rows]) + "\n")
    return root


OV_AVE = [  # split, class, seen or not, video, seconds
    ("train", "race car", "close", "-trainAAAA0", "[0, 1, 1, 1, 0, 0, 0, 0, 0, 0]"),
    ("train", "cat purring", "close", "trainAAAAA1", "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"),
    ("val", "race car", "close", "valBBBBBBB0", "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"),
    ("val", "dog barking", "open", "valBBBBBBB1", "[1, 0, 0, 0, 0, 0, 0, 0, 0, 1]"),
    ("test", "cat purring", "close", "testCCCCCC0", "[0, 0, 0, 0, 0, 1, 1, 1, 1, 1]"),
    ("test", "helicopter", "open", "testCCCCCC1", "[1, 1, 1, 1, 1, 0, 0, 0, 0, 0]"),
]


def ov_ave(root: Path, *, videos: bool = False) -> Path:
    """OV-AVEBench's layout: six clips, as sound files and pictures, or as videos."""
    root.mkdir(parents=True, exist_ok=True)
    rows = [",".join(row[:4]) for row in OV_AVE]
    (root / "ovave_dataset_meta.csv").write_text("\n".join(["split,cls_name,cls_type,vid_name", *rows]) + "\n")
    labels = {video: {"category": category, "label": label} for _, category, _, video, label in OV_AVE}
    (root / "released_ovavel_dataset_anno.json").write_text(json.dumps(labels))
    wave = (0.5 * np.sin(2 * np.pi * 440 * np.arange(160_000) / 16_000)).astype(np.float32)
    for split, category, _, video, _ in OV_AVE:
        if videos:
            write_clip(root / "video" / f"{video}.mp4")
            continue
        sound, pictures = (root / split / kind / category for kind in ("audio", "video"))
        sound.mkdir(parents=True, exist_ok=True)
        (pictures / video).mkdir(parents=True)
        soundfile.write(sound / f"{video}.wav", wave, 16_000)
        for second in range(10):
            Image.new("RGB", (48, 48), (20 * second,) * 3).save(pictures / video / f"{second:08d}.png")
    return root


def grid(root: Path, clips: int = 12) -> Path:
    """GRID's compact layout, digits in turn."""
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    (root / "frames").mkdir(parents=True)
    (root / "audio").mkdir()
    labels, spoken = ["clip,command,color,preposition,letter,digit,adverb,n_frames"], ["clip,word,start_s,end_s"]
    rng = np.random.default_rng(0)
    for k in range(clips):
        name, digit = f"clip{k}", words[k % 10]
        sheet = np.repeat(np.repeat(np.arange(25, dtype=np.uint8).reshape(5, 5) * 10, 64, 0), 64, 1)
        Image.fromarray(sheet).save(root / "frames" / f"{name}.jpg", quality=95)
        soundfile.write(root / "audio" / f"{name}.ogg", rng.normal(0, 0.1, 48_000).astype(np.float32), 16_000)
        labels.append(f"{name},bin,blue,at,f,{digit},now,75")
        spoken += [f"{name},bin,0.00,0.50", f"{name},{digit},1.00,1.50"]
    (root / "labels.csv").write_text("\n".join(labels) + "\n")
    (root / "words.csv").write_text("\n".join(spoken) + "\n")
    return root
