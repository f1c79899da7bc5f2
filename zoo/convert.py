"""`python -m zoo.convert checkpoint=FILE.pth|adapter=DIR output=FILE|into=DIR [KEY=VALUE ...]`: authors' weights.

`output=FILE.safetensors` makes a weights file for `backbones.points.source: file:FILE.safetensors`, or for
`backbones.vlm.projector`; `recipe=NAME into=DIR` makes a whole adapter, which zoo.evaluate, zoo.predict, zoo.show and
zoo.demo take. Nothing is written unless every tensor is accounted for.

    checkpoint   a published checkpoint of Mamba3D or Mantis, read without running code inside it; with output= its
                 trained parts (adapters, head) go to FILE.adapter.safetensors, and the settings they need are printed
    recipe       with into=: of the checkpoint's data, whose classes it knows, e.g. mantis_scanobjectnn_hardest; further
                 words are keys of the recipe. The backbone becomes second_branch=sequence and compat=official, as
                 published checkpoints need it, where the words do not say otherwise
    adapter      an adapter directory of recipe mamba3d_pretrain, without its decoder, or of
                 scale_earth_pretrain
    dtype        of the backbone's file, float32 by default
    class_token  zeros for a checkpoint without class token, which is otherwise an error
"""

import json
import sys
from pathlib import Path

from zoo.command_line import fail, parse_arguments, user_errors
from zoo.files import write_whole
from zoo.quiet import quiet

OPTIONAL = ("checkpoint", "adapter", "output", "dtype", "class_token", "recipe", "into")


def main(argv: list[str] | None = None) -> int:
    """Convert one file; exit code 2 on a mistake in the command, 1 on one in the file."""
    supplied = sys.argv[1:] if argv is None else argv
    whole = any(word.startswith("into=") for word in supplied)
    arguments, overrides = parse_arguments(argv, __doc__ or "", optional=OPTIONAL, free=whole)
    if whole:
        return _adapter(arguments, overrides)
    if "output" not in arguments:
        fail(["missing 'output=FILE.safetensors', or 'recipe=NAME into=DIR' for a whole adapter"])
    output, dtype = Path(arguments["output"]), arguments.get("dtype", "float32")
    problems = (
        [] if bool(arguments.get("checkpoint")) != bool(arguments.get("adapter")) else ["give checkpoint= or adapter="]
    )
    if output.suffix != ".safetensors" or not output.parent.is_dir():
        problems.append(f"output={output}: expected FILE.safetensors in a folder that exists")
    if dtype not in ("float32", "float16"):
        problems.append(f"dtype={dtype}: expected float32 or float16")
    if arguments.get("class_token", "zeros") != "zeros" or {"class_token", "adapter"} <= {*arguments}:
        problems.append("class_token: expected zeros, for a checkpoint")
    if "recipe" in arguments:
        problems.append("recipe: goes with into=DIR")
    if problems:
        fail(problems)
    source = Path(arguments.get("adapter") or arguments["checkpoint"])
    import torch

    from zoo.backbones import weights
    from zoo.interop.checkpoints import ConvertError, from_run, kinds, packed, split, unwrap

    with user_errors():
        try:
            if arguments.get("adapter"):
                converted = from_run(source)
            elif source.is_file() and source.suffix != ".safetensors":
                converted = split(unwrap(weights.load_state_dict(source)), class_token="class_token" in arguments)
            else:
                raise ConvertError("expected a checkpoint of the authors, a .pth file that exists")
            files = {output: packed(converted.backbone, getattr(torch, dtype), converted.settings)}
            trained = output.with_suffix(".adapter.safetensors")
            if converted.trainable:
                files[trained] = packed(converted.trainable, torch.float32, converted.settings)
        except ConvertError as error:
            raise ConvertError(f"{source}: {error}") from None
        for path, content in files.items():
            write_whole(path, content)
    print(f"{output}: kept {kinds(converted.backbone)} of the backbone as {dtype}")
    if converted.trainable:
        print(f"{trained}: kept {kinds(converted.trainable)} that were trained")
    print(f"dropped {kinds(converted.dropped)}; set to zero, for want of one: {', '.join(converted.made) or 'nothing'}")
    print("a recipe for this needs")
    for block, settings in converted.settings.items():
        print(f"  {block}: {json.dumps(settings)}")
    return 0


def _adapter(arguments: dict[str, str], overrides: list[str]) -> int:
    """Make an adapter directory."""
    problems = [f"missing '{key}=...', with into=" for key in ("checkpoint", "recipe") if not arguments.get(key)]
    problems += [
        f"{key}: goes with output=" for key in ("adapter", "output", "dtype", "class_token") if key in arguments
    ]
    if problems:
        fail(problems)
    quiet()
    from zoo.interop import converted
    from zoo.interop.checkpoints import ConvertError

    source, folder = Path(arguments["checkpoint"]).expanduser(), Path(arguments["into"]).expanduser()
    with user_errors():
        if not source.is_file() or source.suffix == ".safetensors":
            raise ConvertError(f"{source}: expected a checkpoint of the authors, a .pth file that exists")
        if folder.exists():
            raise ConvertError(f"into={folder} exists already: choose another folder, or move it away")
        try:
            pairing = converted.to_adapter(source, arguments["recipe"], overrides, folder)
        except ConvertError as error:
            raise ConvertError(f"{source}: {error}") from None
    print(
        f"{folder}: {len(pairing.classes)} classes, {len(pairing.trainable)} tensors of adapters and head; not measured"
    )
    print(f"measure it: python -m zoo.evaluate adapter={folder} data.root=DIR")
    return 0


if __name__ == "__main__":
    sys.exit(main())
