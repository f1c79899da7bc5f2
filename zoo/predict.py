"""`python -m zoo.predict adapter=NAME|DIR input=FILE|FOLDER|PATTERN [output=FILE.jsonl] [KEY=VALUE ...]`: answer files.

The input is one file, every file of a folder (at any depth, in the order of paths) or the files that a quoted pattern
matches ('scans/*.ply'). Predicted are class probabilities: of every segment of a clip, of a cloud, of a cloud's
points, of a picture or of its pixels. A vision-language model writes about a picture, or chooses an answer's letter.

    clips     mp4, mov, mkv, webm, avi, gif, ts, mts, mpg, flv, wmv, 3gp, ...; or wav, flac, ogg, mp3, m4a, opus, aac,
              ... beside a folder of frames with the sound's name: clip.wav and clip/0001.jpg, clip/0002.jpg, ... (jpg
              or png, spread evenly over the sound's length); a longer film gives one record a window, FILE#0, ...
    clouds    txt, xyz, csv, pts, asc, npy, npz, h5, ply, pcd, las, laz, off, obj, stl, glb, bin (KITTI); if a file
              holds several clouds, each is predicted, as FILE#0, ...
    pictures  jpg, png, tif, jp2, webp, avif, bmp, gif; nii and nii.gz for segmentation, as FILE#0, FILE#1, ...

The output is one JSON line an input, in order: `id` and the prediction, `notes` on imputed or padded values (silence,
repeated points), `forced` if the base is not that of the training; or `id` and `error`. One bad file does not stop the
others. The segments of a clip divide the time from `start` to `end`, in seconds of the file, evenly.

    adapter=A+B               the updates of several adapters of one backbone, task and list of classes, added, and the
                              logits of their heads averaged; every record says so. Methods that make no update of
                              frozen weights, such as adapters between the blocks, are refused
    output=FILE.jsonl         write to a file instead of standard output; the same command resumes a stopped run, and
                              predicts inputs again if their files have changed
    pictures=DIR              draw every prediction, DIR/<path below input>.png
    masks=DIR                 of a segmentation: write every mask, DIR/<path below input>.png with class numbers and a
                              palette; .tif with the picture's grid for a GeoTIFF, .nii.gz for a volume; of what sounds
                              in a clip DIR/<path below input>_masks/1.png for its first segment, 255 on what sounds
    batch_size=8              inputs predicted together; smaller needs less memory, larger is faster
    questions=FILE.csv|jsonl  one row per question: path (below input=FOLDER), question, choices, gsd
    classes="one|two|three"   names to choose between, trained on or not: of an adapter of the task open_vocabulary
    method.KEY=VALUE          a setting of the method that may change after training, as the rank of a MatryoshkaLoRA
    --restart                 overwrite the output file
    --force                   load an adapter onto other backbones than it was trained on; every record says so
    --unquantized             of an adapter trained in four bits: on whole weights in bfloat16; every record says so

Settings, if the adapter's data take them:

    missing_audio=silence     accept a clip without sound, which is an error otherwise; the record says so
    missing_pictures=blank    accept a sound without pictures, with grey ones
    start=SECONDS             of a film: start of the first window
    end=SECONDS               no window starts later than this
    category=NAME             category of a cloud, for part segmentation
    up=x|y|z                  axis that points up in a cloud; by default as the format or the adapter's data have it
    gsd=METRES                ground sampling distance of a picture, per pixel of the file; a GeoTIFF has its own.
                              An adapter with a relative scale takes its own unit, and no metres of a file
    window=LOW..HIGH          of a segmentation: values that become black and white, -160..240 for soft tissue in CT
    bands=SENSOR or 3,2,1     of a picture of many bands: sentinel-2-l2a, landsat-8-l2, hls, naip, planetscope,
                              sentinel-1, ..., or those to show as red, green and blue
    stretch=LOW..HIGH         values that become black and white; or percentile, of each picture alone
    box="X0,Y0,X1,Y1"         of a promptable adapter: the object's first and last column and row, in pixels of the
                              picture from its top left; every input gets the same, or each its own by questions=FILE
                              with a column `box` or `points`
    points="X,Y,1|X,Y,0"      likewise clicks on the object (1) and beside it (0)
    question="..."            about a picture; a vision-language adapter needs one
    choices="one|two|three"   of the question

Exit code 0: all inputs predicted. 3: some inputs could not be read. 1: none could, or the adapter failed. 2: an error
in the command. 130: stopped by Ctrl-C, or because standard output was closed.

In Python: `zoo.load(NAME).predict(PATH, ARRAY, PICTURE or LIST, SETTING=VALUE, ...)`.
"""

import contextlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.adapter import chosen, directory, kept_anchors, places, unquantized
from zoo.command_line import fail, parse_arguments, user_errors
from zoo.errors import UserError
from zoo.inference import free_classes, inputs
from zoo.inference.inputs import Inputs
from zoo.inference.settings import CLASSES, SETTINGS
from zoo.quiet import quiet
from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate

if TYPE_CHECKING:
    from data_modules.base import DataModule
    from zoo.tasks.base import Task


def main(argv: list[str] | None = None) -> int:
    """Predict; the help lists the exit codes."""
    settings, words = chosen.divided(sys.argv[1:] if argv is None else argv)
    arguments, _ = parse_arguments(
        words,
        __doc__ or "",
        required=("adapter", "input"),
        optional=("output", "pictures", "masks", "batch_size", "questions", CLASSES, *SETTINGS),
        flags=("--force", "--restart", unquantized.FLAG),
    )
    if not arguments.get("batch_size", "8").isdecimal() or int(arguments.get("batch_size", "8")) < 1:
        fail([f"batch_size: expected a number above 0, got {arguments['batch_size']!r}"])
    if "--restart" in arguments and not arguments.get("output"):
        fail(["--restart: there is no output= to overwrite"])
    quiet()
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from zoo.adapter import summed
    from zoo.inference import mask_files
    from zoo.inference.job import (
        SOME_FAILED,
        STOPPED,
        Run,
        counted,
        is_done,
        open_output,
        run_through,
        summarise,
    )

    with user_errors(), contextlib.ExitStack() as held:
        folders = places.find_adapters(arguments["adapter"])
        summed.require(folders)
        folder = folders[0]
        config = compose(str(folder / "recipe.yaml"), [])
        data = instantiate(config.data)
        task = instantiate(config.task)
        names = []
        if CLASSES in arguments:
            names = free_classes.asked(arguments[CLASSES], task, directory.trained_classes(folder))
        found = find(arguments, data, task)
        if sentence := inputs.passed_over(found):
            print(f"note: {sentence}", file=sys.stderr)
        pictures, masks = (_folder(arguments, key) for key in ("pictures", "masks"))
        if masks is not None:
            if not {"mask", "masks"} & set(task.decided):
                fail([f"masks={arguments['masks']}: this adapter predicts no masks, but {task.kind}"])
            mask_files.require_own(found.items, masks)
        answers = held.enter_context(kept) if (kept := open_output(arguments, folders, settings)) else None
        pending = [item for item in found.items if not is_done(item, answers, pictures, masks)]
        if not pending:
            print(f"{counted(found.items)} answered earlier; nothing is left to do", file=sys.stderr)
            return 0
        config, pairing = summed.load(folders, force="--force" in arguments, whole=unquantized.FLAG in arguments)
        pairing.choose(**settings)
        data.measured_in(pairing.ground)
        for note in pairing.notes:
            print(f"note: {note}", file=sys.stderr)
        if names:
            held.enter_context(pairing.naming(names, kept_anchors.tower(config, pairing, folder.name)))
        pairing.to("cuda" if torch.cuda.is_available() else "cpu")
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal or len(pending) == 1) as bar:
            run = Run(pairing, data, answers, pictures, masks, int(arguments.get("batch_size", "8")), bar)
            started = time.perf_counter()
            stopped = run_through(run, pending, [item.id for item in found.items])
        if stopped:
            return STOPPED
        summarise(arguments, found, pending, run, time.perf_counter() - started)
        if run.failed:
            return 1 if run.failed == len(found.items) else SOME_FAILED
    return 0


def find(arguments: Mapping[str, str], data: "DataModule", task: "Task") -> Inputs:
    """The inputs of a command; their settings are checked before weights are fetched."""
    from zoo.inference.predictor import require_prompts, require_question

    settings = {key: arguments[key] for key in SETTINGS if key in arguments}
    try:
        if "questions" in arguments:
            found = inputs.find_questions(arguments["questions"], arguments["input"], data, settings)
        else:
            data.require(settings)
            require_question(task, data.question_from(settings))
            require_prompts(task, settings)
            found = inputs.find(arguments["input"], data, settings)
        for item in found.items if "questions" in arguments else ():
            data.require(item.settings)
            require_question(task, data.question_from(item.settings))
            require_prompts(task, item.settings)
    except UserError as error:
        fail([str(error)])
    return found


def _folder(arguments: Mapping[str, str], key: str) -> Path | None:
    """The folder of drawings or masks, if one is named."""
    if not (word := arguments.get(key)):
        return None
    folder = Path(word).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail([f"{key}={word}: {error.strerror}; expected a folder"])
    return folder


if __name__ == "__main__":
    sys.exit(main())
