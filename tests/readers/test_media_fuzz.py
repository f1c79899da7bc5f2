"""Damaged media files, seeded: each is read or refused by name, in bounded time and memory, whatever was damaged."""

import time
from pathlib import Path

import media_files
import numpy as np
import pytest
from media_files import Film, Sound, write

from data_modules.errors import DataError
from data_modules.kinds.clips import MOST, ClipDataModule

RATES = {"libopus": 48_000, "ac3": 48_000, "libmp3lame": 44_100, "mp2": 44_100, "wmav2": 44_100}
KINDS = [*media_files.CONTAINERS, "gif", *media_files.SOUND_FILES]
EACH = 20


def module() -> ClipDataModule:
    data = ClipDataModule()
    data.name, data.segments, data.segment_seconds, data.sample_rate = "clips", 4, 0.5, 16_000
    data.frame_size = 32
    return data


def whole(path: Path) -> bytes:
    """A film of five seconds, or a sound."""
    suffix = path.suffix[1:]
    pictures, sound = media_files.CONTAINERS.get(suffix, ("gif", media_files.SOUND_FILES.get(suffix, "")))
    film = Film(codec=pictures, end=5, fps=25 if pictures == "mpeg2video" else 4)
    sounds = [Sound(codec=sound, end=5, rate=RATES.get(sound, 16_000))] if sound else []
    write(path, film=None if suffix in media_files.SOUND_FILES else film, sounds=sounds)
    return path.read_bytes()


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One to twenty bytes are others, most of them in the header; or a stretch is missing, twice there, or cut off."""
    spoilt = bytearray(content)
    start, end = sorted(rng.integers(0, len(spoilt), 2).tolist())
    match rng.integers(0, 6):
        case 0:
            del spoilt[start : start + 2000]
        case 1:
            spoilt[start:start] = spoilt[start:end][:2000]
        case 2:
            del spoilt[start:]
        case _:
            reach = len(spoilt) if rng.random() < 0.4 else min(len(spoilt), 1500)
            for place in rng.integers(0, reach, rng.integers(1, 20)).tolist():
                spoilt[place] = int(rng.integers(0, 256))
    return bytes(spoilt)


def forget_peak() -> None:
    """Let this process's peak memory begin anew: other tests ran in it before."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Peak resident memory of this process in KiB, since it was forgotten."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1])


@pytest.mark.slow
@pytest.mark.parametrize("suffix", KINDS)
def test_a_damaged_file_is_read_or_refused_by_name(tmp_path: Path, suffix: str) -> None:
    forget_peak()
    before = peak()
    content, data, rng = whole(tmp_path / f"whole.{suffix}"), module(), np.random.default_rng(KINDS.index(suffix))
    policy = {"missing_audio": "silence", "missing_pictures": "blank"}
    for k in range(EACH):
        path = tmp_path / f"{k}.{suffix}"
        path.write_bytes(damaged(content, rng))
        began = time.process_time()
        parts = data.samples_in(path, policy)
        assert len(parts) <= MOST
        for part in parts[:4]:
            told = ""
            try:
                clip, _ = data.read(part, dict(policy))
            except DataError as error:
                told = str(error)
            if told:
                assert path.name in told
                assert "\n" not in told
                continue
            assert clip.frames.shape[0] == 4
            assert clip.audio.shape == (4, 8000)
            assert np.isfinite(clip.audio).all()
        assert time.process_time() - began < 30  # of the processor: it ends, however busy the machine is
        path.unlink()
    assert peak() - before < 2_000_000  # KiB
