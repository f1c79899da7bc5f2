"""`python -m zoo.export adapter=NAME|DIR output=DIR format=merged|peft|torch|onnx [KEY=VALUE ...]`: for other programs.

    merged   backbones with the adapter folded into their weights, and the head: what `source: file:` of a recipe loads;
             of a vision-language model a folder in transformers' layout, with its processor, for `from_pretrained`
    peft     the adapter in the layout of HF peft, a folder a backbone, and the head beside them
    torch    model.pt2 of torch.export: inputs after the transform to the task's output, any batch size; where a
             language model answers, a picture and a prompt's tokens to the next token
    onnx     model.onnx of the same

What was written is read back, run on a few samples, and compared with the adapter; a difference above the tolerance is
an error, and then nothing is left behind. export.json records the difference and all that shaped it; SHA256SUMS lists
every file.

    tolerance=NUMBER   largest absolute difference of any output, 1e-4 by default
    gsd=METRES         merged, peft: where updates depend on the ground sampling distance, the one to fold them at, of a
                       picture of the training's size
    input=FILE         a sample of your own to compare on, instead of four of the test split; gsd= and the other
                       settings of zoo.predict tell about it
    data.KEY=VALUE     where the data lie, for instance data.root=DIR
    method.KEY=VALUE   a setting of the method that may change after training, as the rank of a MatryoshkaLoRA
    --force            an adapter that does not fit its backbones, which export.json then says
    --unquantized      what was trained in four bits, on whole weights in bfloat16, which export.json then says
"""

import sys
from pathlib import Path

from zoo.adapter import chosen, directory, places, unquantized
from zoo.adapter.places import recipe_name
from zoo.command_line import fail, parse_arguments, user_errors
from zoo.files import file_hash
from zoo.inference.settings import SETTINGS
from zoo.quiet import quiet
from zoo.recipe.compose import compose

FORMATS = ("merged", "peft", "torch", "onnx")
"""The keys of `zoo.interop.export.FORMATS`; repeated here so that an error is reported before torch is loaded."""


def main(argv: list[str] | None = None) -> int:
    """Export an adapter; exit code 2 on a mistake in the command, 1 on one in the adapter, the data or the export."""
    arguments, overrides = parse_arguments(
        argv,
        __doc__ or "",
        required=("adapter", "output", "format"),
        optional=("tolerance", "input", *SETTINGS),
        flags=("--force", unquantized.FLAG),
        free=True,
    )
    settings, overrides = chosen.divided(overrides)
    problems = [f"'{w}': only data.* may be changed" for w in overrides if not w.startswith(("data.", "data="))]
    if arguments["format"] not in FORMATS:
        problems.append(f"format={arguments['format']}: expected one of {', '.join(FORMATS)}")
    tolerance, gsd = (_positive(arguments, key, problems) for key in ("tolerance", "gsd"))
    if problems:
        fail(problems)
    quiet()
    from zoo.interop.export import export, samples_for, show

    with user_errors():
        folder = places.find_adapter(arguments["adapter"])
        directory.verify(folder)
        config = compose(str(folder / "recipe.yaml"), overrides)
        loaded, pairing = directory.load(folder, force="--force" in arguments, whole=unquantized.FLAG in arguments)
        config.backbones = loaded.backbones
        pairing.choose(**settings)
        samples, where = samples_for(config, arguments)
        if gsd is not None and "gsd" not in pairing.method.conditions:
            print("note: this adapter makes no use of gsd=", file=sys.stderr)
            gsd = None
        record = export(
            config,
            pairing,
            samples,
            Path(arguments["output"]),
            arguments["format"],
            gsd=gsd,
            tolerance=tolerance or 1e-4,
            recipe=recipe_name(str(folder / "recipe.yaml")),
            adapter={"name": folder.name, "sha256": file_hash(folder / "adapter.safetensors")},
            compared_on=where,
            **({"chosen": settings} if settings else {}),
        )
    show(record, Path(arguments["output"]))
    return 0


def _positive(arguments: dict[str, str], key: str, problems: list[str]) -> float | None:
    if key not in arguments:
        return None
    try:
        value = float(arguments[key])
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        problems.append(f"{key}={arguments[key]}: expected a positive number")
    return value


if __name__ == "__main__":
    sys.exit(main())
