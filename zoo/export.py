"""`python -m zoo.export adapter=NAME|DIR output=DIR format=merged|peft|torch|onnx [KEY=VALUE ...]`: for other programs.

    merged   backbones with the adapter folded into their weights, and the head: what `source: file:` of a recipe loads
    peft     the adapter in the layout of HF peft, a folder a backbone, and the head beside them
    torch    model.pt2 of torch.export: inputs after the transform to the task's output, any batch size; where a
             language model answers, a picture and a prompt's tokens to the next token
    onnx     model.onnx of the same

What was written is read back, run on a few samples, and compared with the adapter; a difference above the tolerance is
an error, and then nothing is left behind. export.json records the difference and all that shaped it; SHA256SUMS lists
every file.

    tolerance=NUMBER   largest absolute difference of any output, 1e-4 unless said otherwise
    gsd=METRES         merged, peft: where updates depend on the ground sampling distance, the one to fold them at, of a
                       picture of the training's size
    input=FILE         a sample of your own to compare on, instead of four of the test split; gsd= and the other
                       settings of zoo.predict tell about it
    data.KEY=VALUE     where the data lie, for instance data.root=DIR
    --force            an adapter that does not fit its backbones, which export.json then says
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from data_modules.errors import DataError
from zoo import adapter, catalog, exported, merged, peft_layout, public, recipe, run
from zoo.batch import Batch
from zoo.command import fail, parse_words, quiet, user_errors
from zoo.errors import UserError
from zoo.exported import ExportError, Parity, Tensors
from zoo.exported_words import NextToken, graph_of
from zoo.files import checksum_lines, file_hash, whole_folder, write_whole
from zoo.initialise import recipe_name
from zoo.pairing import Pairing
from zoo.training.build import build_data

SIZES = (1, 2, 4)
"""Of the batches that are compared."""
MEDIA, PICTURES = ("missing_audio", "missing_pictures", "start", "end"), ("gsd", "bands", "stretch")
SETTINGS = (*MEDIA, *PICTURES, "category", "up", "question", "choices")
PACKAGES = {"peft": ("peft",), "onnx": ("onnx", "onnxscript", "onnxruntime")}


@dataclass(frozen=True)
class Job:
    """What is exported.

    Attributes:
        config: the adapter's recipe.
        pairing: the adapter, loaded.
        batches: to compare on, one a size.
        folder: where files go.
        gsd: in metres, where updates are folded at one.
    """

    config: DictConfig
    pairing: Pairing
    batches: list[Batch]
    folder: Path
    gsd: float | None

    def expected(self, pairing: Pairing | None = None) -> list[Tensors]:
        """What a pairing, the adapter by default, makes of the batches: features, and decoded output if not words."""
        pairing = pairing or self.pairing
        found: list[Tensors] = []
        with torch.no_grad():
            for batch in self.batches:
                features = pairing(batch)
                decoded = {} if pairing.task.writes else pairing.task.predict(features, batch)
                found.append({f"features of {name}": value for name, value in features.items()} | decoded)
        return found


def to_merged(job: Job) -> tuple[Parity, dict[str, Any]]:
    """Weights files; compared with a pairing that is built from them."""
    expected = job.expected()
    sources = merged.write(job.pairing, job.folder, gsd=job.gsd)
    found = job.expected(merged.rebuild(job.config, job.pairing, sources))
    use = [f"backbones.{name}.source=file:DIR/{file.name}" for name, file in sources.items()]
    return exported.compare(expected, found), {
        "use": " ".join([*use, f"method._target_={merged.FROZEN['_target_']}"]),
        "files": [file.name for file in sources.values()],
    }


def to_peft(job: Job) -> tuple[Parity, dict[str, Any]]:
    """PEFT's folders; compared with a pairing that `peft` itself puts them onto."""
    expected = job.expected()
    folders = peft_layout.write_all(job.pairing, job.config, job.folder, gsd=job.gsd)
    merged.write_head(job.pairing, job.folder)
    write_whole(job.folder / "recipe.yaml", recipe.to_yaml(job.config))
    plain = merged.rebuild(job.config, job.pairing, {})
    peft_layout.adapted(plain, folders)
    return exported.compare(expected, job.expected(plain)), {
        "use": "peft.PeftModel.from_pretrained(MODULE, FOLDER)",
        "folders": [
            {"folder": path.name, "backbone": stream, "module": root or "."} for (stream, root), path in folders.items()
        ],
    }


def to_torch(job: Job) -> tuple[Parity, dict[str, Any]]:
    """A graph; what its file gives is compared."""
    return _graph(job, "model.pt2")


def to_onnx(job: Job) -> tuple[Parity, dict[str, Any]]:
    """A graph; what ONNX Runtime makes of its file is compared."""
    return _graph(job, "model.onnx")


def _graph(job: Job, name: str) -> tuple[Parity, dict[str, Any]]:
    graph, file = graph_of(job.pairing), job.folder / name
    inputs = [graph.inputs(batch) for batch in job.batches]
    with torch.no_grad():
        expected = [graph(each) for each in inputs]
    told: dict[str, Any] = {
        "file": name,
        "inputs": exported.described(inputs[-1], graph.free),
        "outputs": exported.described(expected[-1], {}),
        **({"chat": graph.chat()} if isinstance(graph, NextToken) else {}),
    }
    if name.endswith(".pt2"):
        exported.to_torch(graph, inputs[-1], file)
        told["use"] = f"torch.export.load('{name}').module()({{NAME: TENSOR}})"
        return exported.compare(expected, exported.run_torch(file, inputs)), told
    exported.to_onnx(graph, inputs[-1], list(expected[-1]), file)
    told["use"] = f"onnxruntime.InferenceSession('{name}').run(None, {{NAME: ARRAY}})"
    return exported.compare(expected, exported.run_onnx(file, inputs)), told


FORMATS: dict[str, tuple[str, Callable[[Job], tuple[Parity, dict[str, Any]]]]] = {
    "merged": ("merge_max_abs", to_merged),
    "peft": ("peft_max_abs", to_peft),
    "torch": ("torch_max_abs", to_torch),
    "onnx": ("onnx_max_abs", to_onnx),
}
"""Under which name a card has the parity, and what writes."""


def export(
    config: DictConfig,
    pairing: Pairing,
    samples: list[Any],
    out: Path,
    form: str,
    *,
    gsd: float | None = None,
    tolerance: float = 1e-4,
    **about: Any,
) -> dict[str, Any]:
    """Write an export and check it.

    Args:
        config: the adapter's recipe.
        pairing: the adapter.
        samples: decoded, to compare on; the last one is repeated where they are too few.
        out: the folder to make.
        form: one of `FORMATS`.
        gsd: in metres, where updates are folded at one.
        tolerance: of the largest absolute difference.
        **about: further facts for export.json.

    Returns:
        What export.json holds.

    Raises:
        UserError: it cannot be exported so, differs too much, or `out` exists.
    """
    if out.exists():
        raise ExportError(f"{out} exists already: choose another output, or move it away")
    start = time.perf_counter()
    samples = [*samples, *samples[-1:] * max(SIZES)]
    batches = [pairing.batch(samples[:size]) for size in SIZES]
    if gsd is not None and form in ("merged", "peft"):
        batches = [replace(b, conditions=b.conditions | {"gsd": torch.full((len(b),), gsd)}) for b in batches]
        about["gsd"] = gsd
    key, write = FORMATS[form]
    with whole_folder(out) as folder:
        parity, told = write(Job(config, pairing, batches, folder, gsd))
        if not parity.max_abs <= tolerance:
            raise ExportError(
                f"what was exported differs from the adapter by {parity.max_abs:.2g} ({parity.decisions} labels), more "
                f"than the tolerance of {tolerance:g}; nothing was written"
            )
        record = {
            "format": form,
            **about,
            **told,
            # Whoever runs the export converts the GSD of pictures of another size himself.
            **({"gsd_of": asdict(pairing.ground)} if "gsd" in pairing.method.conditions else {}),
            "classes": pairing.classes,
            "backbones": {name: asdict(known) for name, known in pairing.fingerprints.items()},
            "parity": {key: parity.max_abs, "labels_differing": parity.decisions, "tolerance": tolerance},
            "batch_sizes": list(parity.sizes),
            **({"forced": pairing.forced} if pairing.forced else {}),
            "seconds": round(time.perf_counter() - start, 1),
            "versions": run.versions() | run.installed(PACKAGES.get(form, ())),
            "command": public.command(" ".join(["python -m", *run.command()]), public.Public(classes=pairing.classes)),
        }
        write_whole(folder / "export.json", json.dumps(record, indent=2) + "\n")
        write_whole(folder / "SHA256SUMS", checksum_lines(folder))
    return record


def main(argv: list[str] | None = None) -> int:
    """Export an adapter; exit code 2 on a mistake in the command, 1 on one in the adapter, the data or the export."""
    words, overrides = parse_words(
        argv,
        __doc__ or "",
        required=("adapter", "output", "format"),
        optional=("tolerance", "input", *SETTINGS),
        flags=("--force",),
        free=True,
    )
    problems = [f"'{w}': only data.* may be changed" for w in overrides if not w.startswith(("data.", "data="))]
    if words["format"] not in FORMATS:
        problems.append(f"format={words['format']}: expected one of {', '.join(FORMATS)}")
    tolerance, gsd = (_positive(words, key, problems) for key in ("tolerance", "gsd"))
    if problems:
        fail(problems)
    quiet()
    with user_errors():
        folder = catalog.resolve(words["adapter"])
        adapter.verify(folder)
        config = recipe.compose(str(folder / "recipe.yaml"), overrides)
        _, pairing = adapter.load(folder, force="--force" in words)
        samples, where = _samples(config, words)
        if gsd is not None and "gsd" not in pairing.method.conditions:
            print("note: this adapter makes no use of gsd=", file=sys.stderr)
            gsd = None
        record = export(
            config,
            pairing,
            samples,
            Path(words["output"]),
            words["format"],
            gsd=gsd,
            tolerance=tolerance or 1e-4,
            recipe=recipe_name(str(folder / "recipe.yaml")),
            adapter={"name": folder.name, "sha256": file_hash(folder / "adapter.safetensors")},
            compared_on=where,
        )
    show(record, Path(words["output"]))
    return 0


def show(record: dict[str, Any], out: Path) -> None:
    """Say what was written, how close it is, and how it is used."""
    key = FORMATS[record["format"]][0]
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    differing = record["parity"]["labels_differing"]
    print(f"{out}  {size / 1e6:.1f} MB in {record['seconds']:.1f} s")
    print(
        f"largest difference {record['parity'][key]:.2g} on {record['compared_on']}, batches of "
        f"{', '.join(map(str, record['batch_sizes']))}; {differing or 'no'} label{'s' * (differing != 1)} differ"
        f"{'s' * (differing == 1)}"
    )
    print(f"for the card: zoo.parity.{key}: {record['parity'][key]:.2g}")
    print(f"use: {record['use']}")


def _samples(config: DictConfig, words: dict[str, str]) -> tuple[list[Any], str]:
    """Decoded samples to compare on, and where they come from."""
    if file := words.get("input"):
        settings = {key: words[key] for key in SETTINGS if key in words}
        sample, notes = recipe.instantiate(config.data).read(Path(file), settings)
        for note in notes:
            print(f"note: {file}: {note}", file=sys.stderr)
        return [sample], Path(file).name
    try:
        data = build_data(config, "test")
    except (DataError, UserError) as error:
        raise ExportError(f"{error}; or compare on a sample of your own: input=FILE") from None
    test = data.sets["test"]
    return [test[i] for i in range(min(len(test), max(SIZES)))], f"{data.name} test"


def _positive(words: dict[str, str], key: str, problems: list[str]) -> float | None:
    if key not in words:
        return None
    try:
        value = float(words[key])
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        problems.append(f"{key}={words[key]}: expected a positive number")
    return value


if __name__ == "__main__":
    sys.exit(main())
