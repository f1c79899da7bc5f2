"""A trained pairing with all that its adapter knows: how inputs are prepared, its classes, card and numbers."""

import contextlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from zoo.adapter import directory, install, kept_anchors, summed
from zoo.api.facts import facts
from zoo.catalog import push as catalog_push
from zoo.catalog.push import Upload
from zoo.errors import SettingError, UserError
from zoo.files import file_hash, whole_folder
from zoo.inference import free_classes, given
from zoo.inference.inputs import Read
from zoo.inference.predictor import predict_batch
from zoo.inference.settings import as_text
from zoo.recipe import data_roots
from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate
from zoo.recipe.request import overrides
from zoo.records import provenance
from zoo.tasks.results import Prediction, html_table

if TYPE_CHECKING:
    from PIL.Image import Image

    from data_modules.base import DataModule
    from zoo.backbones.base import TextEncoder


class Model:
    """What `zoo.load` gives.

    Attributes:
        folder: the adapter directory.
        pairing: the `torch.nn.Module` that predicts, in eval mode.
        recipe: the adapter's resolved recipe.
        data: reads and prepares inputs as those of the training.

    Args:
        folders: an adapter directory; several of a `Sum`.
        device: to predict on; the first GPU by default, where there is one.
        force: load onto other backbones than it was trained on.
        unquantized: load what was trained in four bits onto whole weights in bfloat16.
    """

    def __init__(
        self, *folders: Path, device: str | None = None, force: bool = False, unquantized: bool = False
    ) -> None:
        self.folder, self.folders = folders[0], folders
        self.recipe, self.pairing = summed.load(folders, force=force, whole=unquantized)
        self.data: DataModule = instantiate(self.recipe.data)
        self.data.measured_in(self.pairing.ground)
        self.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    # --- what it is -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the adapter; of a run's own, with the folder of the run. `a+b` of a sum."""
        return "+".join(summed.shown(self.folders))

    @property
    def classes(self) -> list[str]:
        """Class names in label order, without background."""
        return list(self.pairing.classes)

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the settings that `predict` takes beside an input."""
        return self.data.settings

    @property
    def card(self) -> str:
        """The model card, Markdown with YAML front matter."""
        return (self.folder / "README.md").read_text(encoding="utf-8")

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured after its training, with the manifest of the run."""
        found: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))
        return found

    @property
    def device(self) -> torch.device:
        """Where it predicts."""
        return self.pairing.device

    def to(self, device: str | torch.device) -> "Model":
        """Move it to a device."""
        self.pairing.to(device)
        return self

    # --- predict --------------------------------------------------------------------------------------------------

    def predict(self, inputs: Any, *, batch_size: int = 8, classes: Any = None, **settings: Any) -> Any:
        """Predict files, folders or values in memory, each prepared as the adapter's data were.

        Args:
            inputs: a path: of a file, a folder or a pattern; or a value: see `zoo.inference.values.write`; or a decoded
                sample (`zoo.Picture`, `zoo.Cloud`, `zoo.Clip`); or a list of any of these.
            batch_size: inputs predicted together.
            classes: names to choose between in the place of those trained on, a list, for tasks that take any.
            **settings: of `settings`, as `python -m zoo.predict --help` describes them, e.g. `gsd=0.3`,
                `question="..."`, `choices=["one", "two"]`, `up="z"`, `start=10`.

        Returns:
            A `Prediction` for a single sample; a list for a list, a folder, a pattern, or a file of several samples, in
            which a sample that cannot be read has an `error`.

        Raises:
            UserError: there is no such file or setting, a question is missing, or a single sample cannot be read.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise SettingError(f"batch_size={batch_size!r}: expected a whole number above 0")
        told = as_text(settings)
        self.data.require(told)
        names = free_classes.asked(classes, self.pairing.task, self.classes)
        naming = self.pairing.naming(names, self._text) if names else contextlib.nullcontext()
        with tempfile.TemporaryDirectory() as scratch, naming:
            found = given.read_all(inputs, self.data, told, Path(scratch))
            predictions = list(self._predicted(found.reads, batch_size))
        if not found.alone:
            return predictions
        (only,) = predictions
        if only.error:
            raise UserError(only.error)
        return only

    @cached_property
    def _text(self) -> "TextEncoder":
        """The text tower, which the trained classes do not need."""
        return kept_anchors.tower(self.recipe, self.pairing, self.name)

    def _predicted(self, reads: Iterable[Read], batch_size: int) -> Iterator[Prediction]:
        each = iter(reads)
        while group := list(islice(each, batch_size)):
            made = iter(predict_batch(self.pairing, [one.sample for one in group if not one.error]))
            for one in group:
                if one.error:
                    yield Prediction({"id": one.item.id, "error": one.error})
                else:
                    yield one.noted(next(made))

    def picture(self, prediction: Prediction) -> "Image":
        """A drawing of a prediction, as `zoo.predict pictures=DIR` makes it.

        Raises:
            UserError: there is no prediction.
        """
        from PIL import Image

        from zoo.inference.job import draw

        if prediction.error:
            raise UserError(f"there is nothing to draw: {prediction.error}")
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, "prediction.png")
            draw(prediction, path, self.data, self.pairing.task)
            with Image.open(path) as image:
                image.load()
                return image

    # --- measure and pass on ----------------------------------------------------------------------------------------

    def evaluate(
        self, data: str | Path | None = None, *, probes: bool = True, votes: int = 0, **settings: Any
    ) -> dict[str, Any]:
        """Measure it on a test split by its task's own metrics, as `python -m zoo.evaluate` does.

        Args:
            data: folder of own files; None takes the data of the training.
            probes: spoil the samples and replace parts of the method, one at a time, as well.
            votes: of clouds, measure `voted` as well, over so many random views.
            **settings: of the data, e.g. `root="DIR"`.

        Returns:
            Metrics, intervals, trivial baselines, `verdict` and manifest.

        Raises:
            UserError: the data cannot be had, or have other classes.
        """
        from zoo.training.measure import evaluate

        own = ["data=folder", *overrides({"data.root": str(data)})] if data is not None else []
        changed = [*own, *overrides({f"data.{key}": value for key, value in settings.items()})]
        config = compose(str(self.folder / "recipe.yaml"), changed)
        data_roots.require(config.data)
        prepare, device = self.pairing.prepare, self.device
        try:
            with provenance.standing_for(["zoo.evaluate", f"adapter={'+'.join(map(str, self.folders))}", *changed]):
                return evaluate(self.folder, config, self.pairing, probed=probes, votes=votes)
        finally:
            self.pairing.prepare = prepare
            self.to(device)  # Lightning leaves it on the processor

    def export(
        self, output: str | Path, format: str = "onnx", *, input: Any = None, tolerance: float = 1e-4, **settings: Any
    ) -> dict[str, Any]:
        """Write it in another program's format, read it back and compare, as `python -m zoo.export` does.

        Args:
            output: folder to make.
            format: `merged`, `peft`, `torch` or `onnx`.
            input: a path or value to compare on; None takes samples of the test split.
            tolerance: largest absolute difference of any output.
            **settings: of `predict`; `gsd` is also the one that updates are folded at.

        Returns:
            What export.json holds.

        Raises:
            UserError: it cannot be exported so, or differs too much; nothing is left behind.
        """
        from zoo.interop import export

        told = as_text(settings)
        self.data.require(told)
        with tempfile.TemporaryDirectory() as scratch:
            if input is None:
                samples, where = export.samples_for(self.recipe, {})
            else:
                reads = list(given.read_all(input, self.data, told, Path(scratch)).reads)
                if failed := [one.error for one in reads if one.error]:
                    raise UserError(failed[0])
                samples, where = [one.sample for one in reads], "samples of one's own"
        with provenance.standing_for(["zoo.export", f"adapter={self.folder}", f"format={format}"]):
            return export.export(
                self.recipe,
                self.pairing,
                samples,
                Path(output),
                format,
                gsd=float(settings["gsd"]) if "gsd" in settings and "gsd" in self.pairing.method.conditions else None,
                tolerance=tolerance,
                recipe=self.metrics["manifest"]["recipe"],
                adapter={"name": self.name, "sha256": file_hash(self.folder / "adapter.safetensors")},
                compared_on=where,
            )

    def save(self, folder: str | Path) -> Path:
        """Copy the adapter directory to a folder that does not exist yet; `zoo.load` takes it.

        Raises:
            UserError: there is something already, or the adapter was altered since it was loaded.
        """
        target = Path(folder).expanduser()
        if target.exists():
            raise UserError(f"{target} exists already: choose another folder, or move it away")
        directory.verify(self.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(target) as temporary:
            install.copy(self.folder, temporary)
        return target

    def push(
        self, repo: str, *, private: bool = True, dry_run: bool = False, message: str = "", benchmark: str = ""
    ) -> list[Upload]:
        """Share it on the Hugging Face hub, reduced to its public parts, as `python -m zoo.push` does.

        Args:
            repo: "hf://USER/REPO".
            private: make a new repository private.
            dry_run: do not use the network.
            message: of the commit.
            benchmark: OWNER/NAME of the hub's data set that its numbers were measured on.

        Returns:
            Every file as it was, or would be, uploaded.

        Raises:
            UserError: it is not sound, or the hub refuses it.
        """
        name = catalog_push.repository(repo)
        content = catalog_push.prepared(self.folder, benchmark)
        if not dry_run:
            catalog_push.send(name, content, private=private, message=message or f"Add {name.rpartition('/')[2]}")
        return content

    # --- notebooks --------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        lines = "\n".join(f"  {key:11}{value}" for key, value in facts(self).items())
        return f"zoo.Model {self.name}\n{lines}"

    def _repr_html_(self) -> str:
        return f"<b>{escape(self.name)}</b>{html_table(facts(self))}"
