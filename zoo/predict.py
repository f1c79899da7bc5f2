"""`python -m zoo.predict adapter=NAME|DIR input=FILE|FOLDER|PATTERN [output=FILE.jsonl] [SETTING=VALUE ...]`: answer.

One file, every file of a folder (at any depth, in the order of paths) or those that a quoted pattern matches
('scans/*.ply') is answered: the class of every segment of a clip, of a cloud, of a cloud's points, or of a picture,
with probabilities; or what a vision-language model writes about a picture, and the letter of a choice that comes to.

    clips     mp4, mov, mkv, webm, avi, gif, ts, mts, mpg, flv, wmv, 3gp, ...; or wav, flac, ogg, mp3, m4a, opus, aac,
              ... beside a folder of frames with the sound's name: clip.wav and clip/0001.jpg, clip/0002.jpg, ... (jpg
              or png, spread evenly over the sound's length); of a longer film every window is answered, as FILE#0, ...
    clouds    txt, xyz, csv, pts, asc, npy, npz, h5, ply, pcd, las, laz, off, obj, stl, glb, bin (KITTI); of several
              clouds in a file each is answered, as FILE#0, ...
    pictures  jpg, png, tif, jp2, webp, avif, bmp, gif

One JSON line an input, in order: `id` and the answer, `notes` on what had to be made up (silence, points repeated),
`forced` where the adapter would not load without; or `id` and `error`. One bad file does not stop the others. Of clips
`start` and `end`, in seconds of the file, say what the segments divide evenly.

    output=FILE.jsonl         write there in place of standard output; the same command goes on where it was stopped,
                              and asks again about inputs that hold something else by now
    pictures=DIR              draw every answer, DIR/<path below input>.png
    batch_size=8              inputs that are answered together; less memory, or more speed
    questions=FILE.csv|jsonl  a row a question: path (below input=FOLDER) and question, choices, gsd
    --restart                 write over what output= holds
    --force                   take an adapter onto other backbones than it was trained on; every answer says so

Settings, where they mean something to the adapter's data:

    missing_audio=silence     takes a clip without sound, which is an error otherwise; the answer says so
    missing_pictures=blank    takes a sound without pictures, likewise, with grey ones
    start=SECONDS             of a film: where the first window begins
    end=SECONDS               where no further window begins
    category=NAME             of a cloud whose parts are wanted
    up=x|y|z                  axis that points up in a cloud; that of the adapter's data, unless the format says another
    gsd=METRES                ground sampling distance of a picture, per pixel of the file; a GeoTIFF says it itself.
                              An adapter whose scale is relative takes its own unit, and no metres of a file
    bands=SENSOR or 3,2,1     of a picture of many bands: sentinel-2-l2a, landsat-8-l2, hls, naip, planetscope,
                              sentinel-1, ..., or those to show as red, green and blue
    stretch=LOW..HIGH         values that become black and white; or percentile, of each picture alone
    question="..."            about a picture; a vision-language adapter needs one
    choices="one|two|three"   of the question

Exit code 0: all answered. 3: some inputs could not be read. 1: none could, or the adapter is at fault. 2: a mistake in
the command. 130: stopped by Ctrl-C, or by who reads standard output.

For other code: `predict(pairing, samples)` gives one dictionary a sample.
"""

import contextlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from data_modules.errors import DataError
from zoo.adapter import directory, places
from zoo.command_line import fail, parse_words, user_errors
from zoo.errors import SettingError
from zoo.inference import inputs
from zoo.inference.inputs import InputError, Inputs
from zoo.inference.settings import SETTINGS
from zoo.quiet import quiet
from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate

if TYPE_CHECKING:
    from data_modules.base import DataModule
    from zoo.tasks.base import Task


def main(argv: list[str] | None = None) -> int:
    """Predict; exit codes as the help says."""
    words, _ = parse_words(
        argv,
        __doc__ or "",
        required=("adapter", "input"),
        optional=("output", "pictures", "batch_size", "questions", *SETTINGS),
        flags=("--force", "--restart"),
    )
    if not words.get("batch_size", "8").isdecimal() or int(words.get("batch_size", "8")) < 1:
        fail([f"batch_size: expected a number above 0, got {words['batch_size']!r}"])
    if "--restart" in words and not words.get("output"):
        fail(["--restart: there is no output= to write over"])
    quiet()
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from zoo.inference.job import SOME_FAILED, STOPPED, Run, counted, is_done, open_output, run_through, summarise

    with user_errors(), contextlib.ExitStack() as held:
        folder = places.resolve(words["adapter"])
        directory.verify(folder)
        config = compose(str(folder / "recipe.yaml"), [])
        data = instantiate(config.data)
        found = find(words, data, instantiate(config.task))
        if sentence := inputs.passed_over(found):
            print(f"note: {sentence}", file=sys.stderr)
        pictures = _pictures(words)
        answers = held.enter_context(kept) if (kept := open_output(words, folder)) else None
        asked = [item for item in found.items if not is_done(item, answers, pictures)]
        if not asked:
            print(f"{counted(found.items)} answered earlier; nothing is left to do", file=sys.stderr)
            return 0
        _, pairing = directory.load(folder, force="--force" in words)
        for note in pairing.notes:
            print(f"note: {note}", file=sys.stderr)
        pairing.to("cuda" if torch.cuda.is_available() else "cpu")
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal or len(asked) == 1) as bar:
            run = Run(pairing, data, answers, pictures, int(words.get("batch_size", "8")), bar)
            started = time.perf_counter()
            stopped = run_through(run, asked, [item.id for item in found.items])
        if stopped:
            return STOPPED
        summarise(words, found, asked, run, time.perf_counter() - started)
        if run.failed:
            return 1 if run.failed == len(found.items) else SOME_FAILED
    return 0


def find(words: Mapping[str, str], data: "DataModule", task: "Task") -> Inputs:
    """The inputs of a command, whose settings are checked before weights are fetched."""
    from zoo.inference.predictor import require_question

    settings = {key: words[key] for key in SETTINGS if key in words}
    try:
        if "questions" in words:
            found = inputs.find_questions(words["questions"], words["input"], data, settings)
        else:
            data.require(settings)
            require_question(task, data.asked(settings))
            found = inputs.find(words["input"], data, settings)
        for item in found.items if "questions" in words else ():
            data.require(item.settings)
            require_question(task, data.asked(item.settings))
    except (DataError, SettingError, InputError) as error:
        fail([str(error)])
    return found


def _pictures(words: Mapping[str, str]) -> Path | None:
    """The folder of drawings, if they are wanted."""
    if not (word := words.get("pictures")):
        return None
    folder = Path(word).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail([f"pictures={word}: {error.strerror}; expected a folder"])
    return folder


if __name__ == "__main__":
    sys.exit(main())
