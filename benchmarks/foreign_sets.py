"""`python benchmarks/foreign_sets.py adapter=NAME sets=DIR out=DIR`: foreign files for a shipped adapter.

Writes a folder for each foreign set, of files as a user has them; zoo.foreign measures on them. DIR holds the small
real sets by their folders (rsscn7, dales_objects, grid_av, clips, esc10, isbi_membrane); what is not there is named and
left out. Everything is drawn from one seed.
"""

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from data_modules.readers.cloud_notes import AXES
from zoo.adapter.places import find_adapter
from zoo.batch import Clip
from zoo.command_line import parse_arguments, user_errors
from zoo.quiet import quiet
from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate

ROOTS = {
    "mantis-dales": "dales_objects",
    "scale_earth-rsscn7": "rsscn7",
    "tb_ava-grid": "grid_av",
}
MOST, CLIPS = 60, 40
Array = NDArray[Any]


def samples(name: str, sets: Path, most: int = MOST) -> list[Any]:
    """Test samples of a shipped adapter's data, spread over the split."""
    root = [f"data.root={sets / ROOTS[name]}"] if name in ROOTS else []
    config = compose(str(find_adapter(name) / "recipe.yaml"), root)
    data = instantiate(config.data)
    data.seed = config.seed
    data.setup("test")
    test = data.sets["test"]
    return [test[k] for k in np.unique(np.linspace(0, len(test) - 1, most).astype(int)).tolist()]


# --- pictures ---------------------------------------------------------------------------------------------------------


def pictures(name: str, sets: Path) -> dict[str, Callable[[], Iterable[Array]]]:
    """Foreign pictures uint8 [H, W, 3] by set."""
    rng = np.random.default_rng(0)
    other, words = ("scale_earth-scenes", "synthetic scenes")
    if name == other:
        other, words = ("scale_earth-rsscn7", "RSSCN7")

    def own(change: Callable[[Array], Array]) -> Callable[[], Iterable[Array]]:
        return lambda: (change(one.images[0]) for one in samples(name, sets))

    return {
        words: lambda: (one.images[0] for one in samples(other, sets)),
        "neuron membranes (ISBI 2012)": lambda: map(picture, listed(sets / "isbi_membrane" / "image")),
        "lips (GRID)": lambda: (picture(p)[64:128, 64:128] for p in listed(sets / "grid_av" / "frames")[::15]),
        "film frames (AVE)": lambda: film(listed(sets / "clips")),
        "photographs (scikit-learn)": photographs,
        "noise": lambda: (rng.integers(0, 256, (256, 256, 3), dtype=np.uint8) for _ in range(20)),
        "own test, blurred by 4 pixels": own(lambda image: blurred(image, 4)),
        "own test, noise of deviation 40": own(lambda image: noisy(image, rng)),
        "own test, grey": own(lambda image: image.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8)),
    }


def picture(path: Path) -> Array:
    """A file as uint8 [H, W, 3]."""
    return np.asarray(Image.open(path).convert("RGB"))


def film(paths: list[Path]) -> Iterator[Array]:
    """Ten frames of each film."""
    import av

    for path in paths:
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        yield from frames[:: max(1, len(frames) // 10)][:10]


def photographs() -> Iterator[Array]:
    """Crops of a temple and a flower, which scikit-learn carries."""
    from sklearn.datasets import load_sample_images

    for image in load_sample_images().images:
        for top, left in itertools.product(range(0, 172, 48), range(0, 385, 96)):
            yield image[top : top + 256, left : left + 256]


def blurred(image: Array, radius: float) -> Array:
    """By a Gaussian."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def noisy(image: Array, rng: np.random.Generator) -> Array:
    """With Gaussian noise in every channel."""
    return (image + rng.normal(0, 40, image.shape)).clip(0, 255).astype(np.uint8)


# --- clouds -----------------------------------------------------------------------------------------------------------


def clouds(name: str, sets: Path) -> dict[str, Callable[[], Iterable[Array]]]:
    """Foreign clouds [N, 3] by set, the axis up that the adapter's data have."""
    from data_modules.synthetic_shapes import SyntheticShapes

    rng, up = np.random.default_rng(0), axis(name)
    other, words = ("mantis-furniture", "synthetic furniture scans")
    if name == other:
        other, words = ("mantis-dales", "DALES objects")

    def shapes() -> Iterator[Array]:
        data = SyntheticShapes()
        data.setup("test")
        test = data.sets["test"]
        return (turned(test[k].points, data.up, up) for k in range(min(100, len(test))))

    def ball() -> Array:
        points = rng.normal(size=(2048, 3))
        solid: Array = points / np.linalg.norm(points, axis=1, keepdims=True) * rng.random((2048, 1)) ** (1 / 3)
        return solid

    return {
        words: lambda: (turned(one.points, axis(other), up) for one in samples(other, sets, 150)),
        "synthetic shapes": shapes,
        "balls of uniform noise": lambda: (ball() for _ in range(40)),
        "Gaussian noise": lambda: (rng.normal(size=(2048, 3)) for _ in range(40)),
        "own test, another axis up": lambda: (np.roll(one.points, 1, axis=1) for one in samples(name, sets)),
        "own test, jitter of 0.1": lambda: (jittered(one.points, rng) for one in samples(name, sets)),
    }


def jittered(points: Array, rng: np.random.Generator) -> Array:
    """Each point moved by a normal step of a tenth of the cloud's radius."""
    return points + rng.normal(0, 0.1, points.shape)


def turned(points: Array, above: Any, up: Any) -> Array:
    """With the axis that was above as the axis up; cyclic, so that nothing is mirrored."""
    return np.roll(points, AXES[up] - AXES[above], axis=1)


def axis(name: str) -> Any:
    """Which axis points up in an adapter's data."""
    config = compose(str(find_adapter(name) / "recipe.yaml"), [])
    return instantiate({**config.data, "root": "."} if "root" in config.data else config.data).up


# --- clips ------------------------------------------------------------------------------------------------------------


def clips(name: str, sets: Path) -> dict[str, Callable[[], Iterable[Clip | Path]]]:
    """Foreign clips by set; films as they are."""
    rng = np.random.default_rng(0)
    other, words = ("tb_ava-synthetic", "synthetic events")
    if name == other:
        other, words = ("tb_ava-grid", "GRID digits")

    def mixed(sound: Callable[[int, Clip], Array] | None, shown: Callable[[Clip], Array] | None) -> Iterator[Clip]:
        for k, one in enumerate(samples(name, sets, CLIPS)):
            audio = sound(k, one) if sound else one.audio
            yield Clip(one.id, shown(one) if shown else one.frames, audio, one.sample_rate, {})

    heard = sorted((sets / "esc10" / "audio").rglob("*.ogg"))[::10]
    return {
        words: lambda: samples(other, sets, CLIPS),
        "AVE clips": lambda: listed(sets / "clips"),
        "own pictures, sounds of ESC-10": lambda: mixed(lambda k, one: sound(heard[k % len(heard)], one), None),
        "own pictures, silence": lambda: mixed(lambda k, one: np.zeros_like(one.audio), None),
        "own pictures, white noise": lambda: mixed(lambda k, one: rng.normal(0, 0.1, one.audio.shape), None),
        "own sounds, grey pictures": lambda: mixed(None, lambda one: np.full_like(one.frames, 128)),
    }


def sound(path: Path, like: Clip) -> Array:
    """A file as long as a clip, at its rate; repeated where it is shorter."""
    audio, rate = soundfile.read(path)
    mono = audio.reshape(len(audio), -1).mean(1)
    places = np.arange(int(len(mono) * like.sample_rate / rate)) * rate / like.sample_rate
    return np.resize(np.interp(places, np.arange(len(mono)), mono), like.audio.size).reshape(like.audio.shape)


# --- files ------------------------------------------------------------------------------------------------------------


def listed(folder: Path) -> list[Path]:
    """Files of a folder, in order."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def written(one: Any, place: Path) -> None:
    """One sample as a file: a picture, a cloud, or a sound with its frames in a folder beside it."""
    if isinstance(one, Path):
        place.with_suffix(one.suffix).write_bytes(one.read_bytes())
    elif isinstance(one, Clip):
        soundfile.write(place.with_suffix(".wav"), one.audio.reshape(-1), one.sample_rate, subtype="FLOAT")
        place.mkdir()
        for number, frame in enumerate(one.frames, 1):
            Image.fromarray(frame).save(place / f"{number:04}.png")
    elif one.ndim == 3:
        Image.fromarray(np.ascontiguousarray(one)).save(place.with_suffix(".png"))
    else:
        np.save(place.with_suffix(".npy"), one.astype(np.float32))


def main(argv: list[str] | None = None) -> int:
    """Write the sets of one adapter."""
    words, _ = parse_arguments(argv, __doc__ or "", required=("adapter", "sets", "out"))
    name, sets, out = words["adapter"], Path(words["sets"]), Path(words["out"])
    kinds: dict[str, Callable[[str, Path], Mapping[str, Callable[[], Iterable[Any]]]]] = {
        "scale_earth": pictures,
        "mantis": clouds,
        "tb_ava": clips,
    }
    quiet()
    with user_errors():
        for what, made in kinds[name.partition("-")[0]](name, sets).items():
            folder = out / what
            folder.mkdir(parents=True)
            try:
                for number, one in enumerate(made()):
                    written(one, folder / f"{number:03}")
            except (OSError, ImportError) as error:
                print(f"left out: {what}: {error}", file=sys.stderr)
            print(f"{what}: {len(listed(folder))} files", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
