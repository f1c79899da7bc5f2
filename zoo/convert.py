"""`python -m zoo.convert checkpoint=FILE.pth|adapter=DIR output=FILE.safetensors [KEY=VALUE ...]`: authors' weights.

Makes a weights file for `backbones.points.source: file:FILE.safetensors`, or for `backbones.vlm.projector`. Nothing
is written unless every tensor is accounted for.

    checkpoint   a published checkpoint of Mamba3D or Mantis, read without running code inside it; its
                 trained parts (adapters, head) go to FILE.adapter.safetensors, and the settings they need are printed
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

OPTIONAL = ("checkpoint", "adapter", "dtype", "class_token")


def main(argv: list[str] | None = None) -> int:
    """Convert one file; exit code 2 on a mistake in the command, 1 on one in the file."""
    arguments, _ = parse_arguments(argv, __doc__ or "", required=("output",), optional=OPTIONAL)
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


if __name__ == "__main__":
    sys.exit(main())
