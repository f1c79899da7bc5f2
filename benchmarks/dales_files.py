"""`python benchmarks/dales_files.py adapter=NAME|DIR root=DIR`: right on files as a user has them?

The stored objects are padded with copies of their points. Every test object's distinct points are written as .xyz, in
another order, and read and answered as `zoo.predict` does; beside it the answers about the stored arrays, and a linear
probe (logistic regression on the frozen backbone's pooled features, from the training objects as files). Intervals are
Wilson's.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from data_modules.dales_objects import DalesObjects
from zoo.adapter import directory, places
from zoo.batch import Cloud
from zoo.command_line import parse_arguments, user_errors
from zoo.inference.predictor import predict_batch
from zoo.pairing import Pairing
from zoo.quiet import quiet

BATCH = 16


def main(argv: list[str] | None = None) -> int:
    """Print one line a measurement."""
    words, _ = parse_arguments(argv, __doc__ or "", required=("adapter", "root"))
    quiet()
    with user_errors(), tempfile.TemporaryDirectory() as folder:
        _, pairing = directory.load(places.find_adapter(words["adapter"]))
        data = DalesObjects(root=words["root"], points=pairing.prepare.__self__.points)  # type: ignore[attr-defined]
        data.setup()
        stored = {split: [samples[k] for k in range(len(samples))] for split, samples in data.sets.items()}
        files = {split: as_files(data, split, Path(folder)) for split in ("train", "test")}
        truth = {split: np.array([int(cloud.target["label"]) for cloud in clouds]) for split, clouds in stored.items()}
        for name, clouds in (("stored arrays", stored["test"]), ("files", files["test"])):
            told(f"{words['adapter']}, {name}", labels(pairing, clouds), truth["test"], data.classes)
        seen = {split: features(pairing, clouds) for split, clouds in files.items()}
        told("linear probe, files", probe(seen["train"], truth["train"], seen["test"]), truth["test"], data.classes)
    return 0


def as_files(data: DalesObjects, split: str, folder: Path) -> list[Cloud]:
    """Clouds of a split, each written as its distinct points in another order, and read again."""
    samples, rng, found = data.sets[split], np.random.default_rng(0), []
    for index in range(len(samples)):
        points = np.unique(samples.raw(index), axis=0)  # type: ignore[attr-defined]
        path = folder / f"{samples.id(index)}.xyz"
        np.savetxt(path, rng.permutation(points), fmt="%.6f")
        found.append(data.read(path, {})[0])
    return found


def batches(clouds: Sequence[Cloud]) -> list[Sequence[Cloud]]:
    """Of BATCH clouds."""
    return [clouds[start : start + BATCH] for start in range(0, len(clouds), BATCH)]


def labels(pairing: Pairing, clouds: Sequence[Cloud]) -> NDArray[np.int64]:
    """What the pairing answers."""
    said = [one.output["label"] for group in batches(clouds) for one in predict_batch(pairing, group)]
    return torch.stack(said).numpy()


def features(pairing: Pairing, clouds: Sequence[Cloud]) -> NDArray[np.float64]:
    """Pooled features [n, D] of the frozen backbone alone."""
    (backbone,) = pairing.backbones.values()
    found = []
    for group in batches(clouds):
        with torch.no_grad():
            found.append(backbone.pool(backbone(torch.cat([backbone.transform(cloud) for cloud in group]))))
    return torch.cat(found).double().numpy()


def probe(train: NDArray[np.float64], truth: NDArray[np.int64], test: NDArray[np.float64]) -> NDArray[np.int64]:
    """Labels by logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    said: NDArray[np.int64] = (
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(train, truth).predict(test)
    )
    return said


def told(name: str, said: NDArray[np.int64], truth: NDArray[np.int64], classes: Sequence[str]) -> None:
    """A line: accuracy, its interval, and right answers by class."""
    right, n = int((said == truth).sum()), len(truth)
    low, high = wilson(right, n)
    each = ", ".join(
        f"{c} {int((said[truth == k] == k).sum())}/{int((truth == k).sum())}" for k, c in enumerate(classes)
    )
    print(f"{name}: {right}/{n} = {right / n:.2%} [{low:.2%}, {high:.2%}]; {each}")


def wilson(right: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    share = right / n
    middle, half = share + z**2 / (2 * n), z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return float((middle - half) / (1 + z**2 / n)), float((middle + half) / (1 + z**2 / n))


if __name__ == "__main__":
    sys.exit(main())
