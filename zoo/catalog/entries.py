"""An entry of the catalogue: a recipe or an adapter with its pairing, data, size, licences and results, as facts."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

STATUSES = ("trained here", "reported only", "not measured")


@dataclass(frozen=True)
class Measured:
    """A result measured by this code on the test split, of the metric that selects the checkpoint.

    Attributes:
        metric: its name.
        value: in per cent; the mean where there are several seeds or folds.
        std: over seeds or folds; None of one.
        interval: 95 %, over samples; None of several seeds.
        n: samples of the split.
        seeds: of the trainings.
        folds: of the data, where it was measured on several.
        data: name of the data set.
        commit: None where the code was no checkout.
        dirty: whether that checkout had uncommitted changes.
        hardware: that it was measured on.
        date: of the measurement.
    """

    metric: str
    value: float
    std: float | None
    interval: list[float] | None
    n: int
    seeds: list[int]
    data: str
    commit: str | None
    dirty: bool
    hardware: str
    date: str
    folds: int | None = None

    @property
    def rounds(self) -> str:
        """Over what the value is a mean."""
        return f"{self.folds} folds" if self.folds else f"{len(self.seeds)} seeds" if len(self.seeds) > 1 else ""


@dataclass(frozen=True)
class Control:
    """The best of a recipe's controls, on the same test split.

    Attributes:
        name: of the variant.
        value: of the recipe's metric, in per cent; the mean where there are several seeds or folds.
        gap: 95 % interval of recipe minus control, paired over samples, in points.
    """

    name: str
    value: float
    gap: list[float]

    @property
    def verdict(self) -> str:
        """Comparison of the control with the recipe, by the interval."""
        return "worse" if self.gap[0] > 0 else "better" if self.gap[1] < 0 else "no clear difference"


@dataclass(frozen=True)
class Licences:
    """Licences of a recipe's adapter, of each backbone by name, and of the data."""

    adapter: str
    backbones: dict[str, str]
    data: str


@dataclass(frozen=True, repr=False)
class Entry:
    """A recipe or an adapter.

    Attributes:
        kind: which of the two.
        name: as commands take it.
        path: of the recipe file or the adapter directory.
        about: one line, from the recipe's header.
        recipe: that the adapter comes from; a recipe's own name.
        where: an adapter is `bundled` or `installed`; of a recipe the package that brings it, empty for the zoo's own.
        method: by the name that its card uses.
        task: kind of label, as cards name it.
        backbones: names of the frozen weights.
        targets: classes of method, task, data and backbones, by key.
        data: name of the data set.
        hardware: what the recipe is made for, or what the adapter was trained on.
        takes: reported or measured duration.
        trainable: parameters; None where it was never trained here.
        bytes: of the adapter's file; None for a recipe.
        licences: of adapter, backbones and data.
        reported: numbers of the card that are not ours.
        measured: None where we measured nothing.
        control: the best control that the recipe was compared with; None where it was compared with none.
        changes: by mechanism of the method, the share of test predictions that replacing it changes; empty where nobody
            measured it.
        status: follows from the two before it; one of STATUSES.
    """

    kind: Literal["recipe", "adapter"]
    name: str
    path: str
    about: str
    recipe: str
    where: str
    method: str
    task: str
    backbones: list[str]
    targets: dict[str, str]
    data: str
    hardware: str
    takes: str
    trainable: int | None
    bytes: int | None
    licences: Licences
    reported: list[dict[str, Any]]
    measured: Measured | None
    control: Control | None
    changes: dict[str, float] = field(default_factory=dict)
    status: str = field(init=False)

    def __post_init__(self) -> None:
        status = STATUSES[0] if self.measured else STATUSES[1] if self.own_reported() else STATUSES[2]
        object.__setattr__(self, "status", status)

    def __repr__(self) -> str:
        """One line; `facts()` has all."""
        measured = f"{self.measured.metric} {self.measured.value:.2f} %" if self.measured else self.status
        what = f"{self.method} on {', '.join(self.backbones)}, {self.task}, {self.data}"
        return f"<{self.kind} {self.name}: {what}; {measured}>"

    def facts(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def own_reported(self) -> list[dict[str, Any]]:
        """The reported numbers of this method itself."""
        return [r for r in self.reported if str(r["method"]).startswith(self.method.partition(" (")[0])]


@dataclass(frozen=True)
class Catalog:
    """All entries, and what could not be read, one line each."""

    recipes: list[Entry]
    adapters: list[Entry]
    problems: list[str]

    def facts(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)
