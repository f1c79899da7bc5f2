"""Export an adapter: merged weights, PEFT, torch.export or ONNX, each checked against the pairing."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from zoo.adapter import public
from zoo.adapter.public import Public
from zoo.batch import Batch
from zoo.errors import UserError
from zoo.files import checksum_lines, whole_folder, write_whole
from zoo.inference.settings import SETTINGS
from zoo.interop import graph as interop_graph
from zoo.interop import merged, peft_layout
from zoo.interop.graph import ExportError, Parity, Tensors
from zoo.interop.language_graph import NextToken, graph_of
from zoo.interop.merged import FROZEN
from zoo.pairing import Pairing
from zoo.recipe import compose
from zoo.recipe.instantiate import instantiate
from zoo.records import provenance
from zoo.tasks.language import LanguageTask
from zoo.training.build import build_data

SIZES = (1, 2, 4)
"""Sizes of the batches that are compared."""

MAP = "those of the trained weights alone (MAP); what the method makes of them stays with the adapter"
"""What an export has of an adapter whose method owns its probabilities."""

PACKAGES = {"peft": ("peft",), "onnx": ("onnx", "onnxscript", "onnxruntime")}


@dataclass(frozen=True)
class Job:
    """A pairing to export, with batches to compare.

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
        """Outputs of a pairing, by default the adapter: features, and decoded output unless it is text."""
        pairing = pairing or self.pairing
        found: list[Tensors] = []
        with torch.no_grad():
            for batch in self.batches:
                features = pairing(batch)
                words = isinstance(pairing.task, LanguageTask)
                decoded = {} if words else pairing.task.predict(features, batch)
                found.append({f"features of {name}": value for name, value in features.items()} | decoded)
        return found


def to_merged(job: Job) -> tuple[Parity, dict[str, Any]]:
    """Weights files; compared with a pairing that is built from them."""
    expected = job.expected()
    sources = merged.write(job.pairing, job.folder, gsd=job.gsd)
    found = job.expected(merged.rebuild(job.config, job.pairing, sources))
    use = [f"backbones.{name}.source=file:DIR/{file.name}" for name, file in sources.items()]
    return interop_graph.compare(expected, found), {
        "use": " ".join([*use, f"method._target_={FROZEN['_target_']}"]),
        "files": [file.name for file in sources.values()],
    }


def to_peft(job: Job) -> tuple[Parity, dict[str, Any]]:
    """PEFT's folders; compared with a pairing that `peft` itself puts them onto."""
    expected = job.expected()
    folders = peft_layout.write_all(job.pairing, job.config, job.folder, gsd=job.gsd)
    merged.write_head(job.pairing, job.folder)
    write_whole(job.folder / "recipe.yaml", compose.to_yaml(job.config))
    plain = merged.rebuild(job.config, job.pairing, {})
    peft_layout.adapted(plain, folders)
    return interop_graph.compare(expected, job.expected(plain)), {
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
    description: dict[str, Any] = {
        "file": name,
        "inputs": interop_graph.described(inputs[-1], graph.free),
        "outputs": interop_graph.described(expected[-1], {}),
        **({"chat": graph.chat()} if isinstance(graph, NextToken) else {}),
    }
    if name.endswith(".pt2"):
        interop_graph.to_torch(graph, inputs[-1], file)
        description["use"] = f"torch.export.load('{name}').module()({{NAME: TENSOR}})"
        return interop_graph.compare(expected, interop_graph.run_torch(file, inputs)), description
    interop_graph.to_onnx(graph, inputs[-1], list(expected[-1]), file)
    description["use"] = f"onnxruntime.InferenceSession('{name}').run(None, {{NAME: ARRAY}})"
    return interop_graph.compare(expected, interop_graph.run_onnx(file, inputs)), description


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
        parity, description = write(Job(config, pairing, batches, folder, gsd))
        if not parity.max_abs <= tolerance:
            raise ExportError(
                f"what was exported differs from the adapter by {parity.max_abs:.2g} ({parity.decisions} labels), more "
                f"than the tolerance of {tolerance:g}; nothing was written"
            )
        record = {
            "format": form,
            **about,
            **description,
            # Whoever runs the export converts the GSD of pictures of another size himself.
            **({"gsd_of": asdict(pairing.ground)} if "gsd" in pairing.method.conditions else {}),
            **({"probabilities": MAP} if pairing.method.owns_probabilities else {}),
            "classes": pairing.classes,
            "backbones": {name: asdict(known) for name, known in pairing.fingerprints.items()},
            "parity": {key: parity.max_abs, "labels_differing": parity.decisions, "tolerance": tolerance},
            "batch_sizes": list(parity.sizes),
            **({"forced": pairing.forced} if pairing.forced else {}),
            "seconds": round(time.perf_counter() - start, 1),
            "versions": provenance.versions() | provenance.installed(PACKAGES.get(form, ())),
            "command": public.command(" ".join(["python -m", *provenance.command()]), Public(classes=pairing.classes)),
        }
        write_whole(folder / "export.json", json.dumps(record, indent=2) + "\n")
        write_whole(folder / "SHA256SUMS", checksum_lines(folder))
    return record


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
    if "probabilities" in record:
        print(f"note: its probabilities are {record['probabilities']}")
    print(f"use: {record['use']}")


def samples_for(config: DictConfig, words: dict[str, str]) -> tuple[list[Any], str]:
    """Decoded samples to compare on, and where they come from."""
    if file := words.get("input"):
        settings = {key: words[key] for key in SETTINGS if key in words}
        sample, notes = instantiate(config.data).read(Path(file), settings)
        for note in notes:
            print(f"note: {file}: {note}", file=sys.stderr)
        return [sample], Path(file).name
    try:
        data = build_data(config, "test")
    except UserError as error:
        raise ExportError(f"{error}; or compare on a sample of your own: input=FILE") from None
    test = data.sets["test"]
    return [test[i] for i in range(min(len(test), max(SIZES)))], f"{data.name} test"
