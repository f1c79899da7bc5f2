"""Masks of objects that a prompt points at: the mask decoder of a SAM, for a picture and a box or clicks.

There is no head: the decoder is the backbone's own, frozen or adapted by a method (tower `mask`). To learn and to
measure, prompts are drawn from the label (`zoo.ops.drawn_prompts`), as a person who knows the object would give them,
and every record says so. Objects are those of a square; one that its border cuts counts as what is left of it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.backbones.base import Backbone, tap
from zoo.backbones.sam_prompts import Promptable
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.metrics import segmentation as metrics
from zoo.ops.prompts import BOX, LABELS, POINTS
from zoo.tasks.base import Task
from zoo.tasks.dense import resized
from zoo.tasks.label_objects import Clicks, Counted, Objects, count, draw, means, scores, whole
from zoo.tasks.mask_losses import binary, soft_dice
from zoo.tasks.results import Mask

STREAM = "vision"

CLICKS = (1, 3, 5)
"""Numbers of clicks after which masks are measured."""

ROOM = 1 << 26
"""Pixels of objects that are kept for pictures of a run."""

ASK = "box=x0,y0,x1,y1 or points=x,y,1 in pixels of the picture"


class PromptableSegmentation(Task):
    """Focal or cross entropy, and Dice, of the decoder's logits for prompted objects.

    Reads `target["mask"]`, uint8 [B, S, S] with `IGNORE` where nothing is known, `conditions["place"]` (see
    `zoo.batch.Tile`), the maps of the stream `vision` that its decoder asks for, and where a user asks (`mask` unknown)
    `conditions["box"]` or `["points"]` (see `zoo.ops.prompts`). Predicts for a user's prompt `mask` uint8 [B, S', S']
    (1 on the object) and `scores`, log-probabilities float16 [B, 2, S', S']; of a label's objects
    `objects`, logits float16 [B, C, K, S', S'] after C counts of clicks. S' is the side of the backbone's input.

    Args:
        prompts: `box`, `clicks`, or `none`: then all of one class is the one object, for methods that learn the prompt.
        of: classes whose connected components are objects; null takes all but the first.
        objects: K, of a square; where there are more, so many are drawn.
        least: pixels of an object at least.
        jitter: of boxes, as a share of their length: see `zoo.ops.drawn_prompts.box`.
        focal: exponent of the focal loss (Lin et al. 2017, arXiv 1708.02002); 0 is the cross entropy.
        dice: weight of the soft Dice loss beside it.
        seed: of the prompts that are measured with; those of training follow the run's.
    """

    kind = "promptable"
    monitor = "dice"
    note = "prompts drawn from the label"
    conditions = ("place",)
    pictures = ("objects",)
    result = Mask
    keep = 0

    def __init__(
        self,
        *,
        prompts: Literal["box", "clicks", "none"] = "box",
        of: tuple[str, ...] | None = None,
        objects: Annotated[int, ">= 1"] = 8,
        least: Annotated[int, ">= 1"] = 64,
        jitter: Annotated[float, ">= 0", "< 1"] = 0.0,
        focal: Annotated[float, ">= 0"] = 0.0,
        dice: Annotated[float, ">= 0"] = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.prompts, self.of, self.objects, self.least = prompts, of, objects, least
        self.jitter, self.focal, self.dice, self.seed = jitter, focal, dice, seed
        self.clicks = True  # until `attach` has seen the decoder
        if prompts == "none":
            self.note = ""

    def reads(self, encoders: Mapping[str, Backbone]) -> dict[str, tuple[int, ...]]:
        """The maps that the decoder of `vision` reads.

        Raises:
            SettingError: there is no such decoder, or it never learned clicks.
        """
        encoder = encoders.get(STREAM)
        if not isinstance(encoder, Promptable):
            told = {name: type(one).__name__ for name, one in encoders.items()}
            raise SettingError(f"task promptable needs a SAM as backbones.vision (sam, sam2, lite_medsam); got {told}")
        if self.prompts == "clicks" and not encoder.clicks:
            raise SettingError(f"task.prompts = clicks: {type(encoder).__name__} learned boxes alone; set box")
        return {STREAM: encoder.asked}

    def attach(
        self, feature_dims: Mapping[str, int], classes: Sequence[str], encoders: Mapping[str, Backbone] | None = None
    ) -> None:
        """Find the decoder and the classes; nothing is created.

        Raises:
            SettingError: `of` names no class, or several where all of one is the object.
        """
        names = list(classes[1:] or classes) if self.of is None else list(self.of)
        if missing := [name for name in names if name not in classes]:
            raise SettingError(f"task.of = {missing}: expected some of {', '.join(classes)}")
        if self.prompts == "none" and len(names) != 1:
            raise SettingError(f"task.of = {names}: without prompts there is one class; name it")
        self.indices = [list(classes).index(name) for name in names]
        self.names = ["background", names[0] if len(names) == 1 else "object"]
        self.reads(encoders or {})
        # In a tuple, for it is the pairing's and no part of the task.
        self.held: tuple[Any, ...] = ((encoders or {})[STREAM],)
        self.clicks = self.decoder.clicks
        self.reset()

    @property
    def decoder(self) -> Promptable:
        """The backbone whose decoder answers."""
        model: Promptable = self.held[0]
        return model

    @property
    def takes(self) -> tuple[str, ...]:
        """Names of the prompts that a user may give."""
        if self.prompts == "none":
            return ()
        return (POINTS, BOX) if self.clicks else (BOX,)

    def require(self, given: Mapping[str, Any]) -> None:
        """Refuse prompts that it cannot answer, and none where it needs one.

        Args:
            given: by name, `box` and `points` among others.

        Raises:
            SettingError: naming what to say.
        """
        asked = [name for name in (BOX, POINTS) if name in given]
        if self.prompts == "none" and asked:
            raise SettingError(f"{asked[0]}=: this adapter has learned its prompt, and takes none")
        if self.prompts != "none" and not asked:
            raise SettingError(f"this adapter answers prompts: say {ASK}")
        if POINTS in asked and POINTS not in self.takes:
            raise SettingError("points=: this adapter's decoder learned boxes alone: say box=x0,y0,x1,y1")

    def drawn(self, batch: Batch, *, anew: bool = False) -> Objects:
        """Objects of a labelled batch and their boxes: those of a sample's id and `seed`, or with `anew` those of
        torch's random numbers."""
        masks = batch.target["mask"]
        seeds = torch.randint(2**62, (len(masks),)).tolist() if anew else [self._seed(name) for name in batch.ids]
        if self.prompts == "none":
            return whole(masks, self.indices)
        return draw(masks, seeds, self.indices, most=self.objects, least=self.least, jitter=self.jitter)

    def _seed(self, name: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed} {name}".encode()).digest()[:8], "big")

    def _masks(
        self,
        features: Mapping[str, Tensor],
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, K, S', S'] for prompts in shares of the square's side."""
        maps = {after: features[tap(STREAM, after)][:, 0] for after in self.decoder.asked}
        points, boxes = (None if shares is None else self._pixels(shares) for shares in (points, boxes))
        return self.decoder.masks(maps, points, labels, boxes)[0][:, :, 0]

    def _pixels(self, shares: Tensor) -> Tensor:
        """Shares of the square's side, of a pixel's centre, as the decoder has them: of its corner."""
        return shares * self.decoder.image_size - 0.5

    def _steps(self, features: Mapping[str, Tensor], objects: Objects, counts: Sequence[int] = CLICKS) -> list[Tensor]:
        """Logits of a label's objects, [B, K, S', S']: for their boxes, for nothing, or after so many clicks each, the
        last with gradients where they are on."""
        if self.prompts == "none":
            return [self._masks(features)]
        if self.prompts == "box":
            return [self._masks(features, boxes=(objects.boxes + 0.5) / objects.truth.shape[-1])]
        clicks, found = Clicks(objects, max(counts)), []
        for number in range(1, max(counts) + 1):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number == max(counts)):
                logits = self._masks(features, points=clicks.points(), labels=clicks.labels())
            if number in counts:
                found.append(logits)
            if number < max(counts):
                clicks.add(resized(logits.detach(), objects.truth.shape[-2:]) > 0)
        return found

    def logits(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Of a user's prompts, one object, [B, 1, S', S']; of a label's objects, [B, K, S', S'].

        Raises:
            SettingError: there is neither prompt nor label.
        """
        given = batch.conditions
        if BOX in given or POINTS in given:
            return self._masks(features, points=given.get(POINTS), labels=given.get(LABELS), boxes=given.get(BOX))
        if self.prompts == "none":
            return self._masks(features)
        if "mask" not in batch.target:
            raise SettingError(f"this adapter answers prompts: say {ASK}")
        return self._steps(features, self.drawn(batch))[-1]

    def loss(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`cross_entropy` and `dice`, each [B], means over a square's objects; 0 of a square without any."""
        objects = self.drawn(batch, anew=self.training)
        counts = (CLICKS[int(torch.randint(len(CLICKS), ()))],) if self.training else CLICKS
        logits = self._steps(features, objects, counts)[-1]
        logits = resized(logits.float(), objects.truth.shape[-2:])
        valid = objects.valid[:, None].expand_as(objects.truth)
        terms = {"cross_entropy": binary(logits, objects.truth, valid, self.focal)}
        if self.dice:
            terms["dice"] = self.dice * soft_dice(logits.sigmoid(), objects.truth, valid)
        there = objects.there.to(logits.dtype)
        return {name: (each * there).sum(1) / there.sum(1).clamp(min=1) for name, each in terms.items()}

    def predict(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        prompted = BOX in batch.conditions or POINTS in batch.conditions
        if prompted or "mask" not in batch.target or self.prompts == "none":
            one = self.logits(features, batch)[:, 0].float()
            scores = torch.stack([F.logsigmoid(-one), F.logsigmoid(one)], dim=1)
            return {"mask": (one > 0).to(torch.uint8), "scores": scores.half()}
        return {"objects": torch.stack(self._steps(features, self.drawn(batch)), dim=1).half()}

    def answer(self, prediction: Mapping[str, Tensor]) -> dict[str, Any]:
        """The object's share of the area, its bounding box [x, y, width, height] and mean probability, as of a class.

        Args:
            prediction: `mask` [H, W] of a picture, and `confidence` [2], the mean probability of either's pixels.
        """
        own = prediction["mask"].cpu() == 1
        rows, columns = own.any(1).nonzero().flatten(), own.any(0).nonzero().flatten()
        found = {}
        if len(rows):
            top, left = int(rows[0]), int(columns[0])
            found[self.names[1]] = {
                "share": round(int(own.sum()) / own.numel(), 6),
                "box": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
                "probability": round(float(prediction["confidence"][1]), 6),
            }
        return {"classes": found, "size": [own.shape[1], own.shape[0]]}

    def reset(self) -> None:
        """Forget what was counted."""
        self.seen: list[Counted] = []

    def update(self, prediction: Mapping[str, Tensor], batch: Batch) -> None:
        """Count the objects of a batch."""
        objects = self.drawn(batch)
        logits = prediction.get("objects")
        if logits is None:
            logits = (prediction["scores"][:, 1] - prediction["scores"][:, 0])[:, None, None]
        groups = batch.conditions["group"] if "group" in batch.conditions else batch.conditions["place"][:, 0]
        for i, name in enumerate(batch.ids):
            room = len(self.seen) * objects.valid[i].numel() < ROOM
            self.seen += count(logits[i], objects.of(i), name, int(groups[i]), keep=room)

    def compute(self) -> dict[str, float]:
        """`dice` and `iou`, means over objects; after every count of clicks `dice/N_clicks`, of which the last is
        `dice`."""
        found = means([one.own[-1] for one in self.seen])
        for step, number in enumerate(CLICKS if self.prompts == "clicks" else ()):
            after = means([one.own[step] for one in self.seen])
            found |= {f"{name}/{number}_clicks": value for name, value in after.items()}
        return found

    def names_counted(self) -> list[str]:
        """Names of the objects."""
        return [one.name for one in self.seen]

    def per_sample(self) -> Tensor:
        """Dice of every object, [N]."""
        return scores([one.own[-1] for one in self.seen])[0]

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Over groups of objects, those of one picture; none of one group alone."""
        groups, values = [one.group for one in self.seen], self.per_sample()
        if len(set(groups)) < 2:
            return {}
        rows = torch.stack([values, torch.ones_like(values)], dim=1)
        return {self.monitor: metrics.grouped_interval(rows, groups, lambda summed: summed[:, 0] / summed[:, 1])}

    def baselines(self) -> dict[str, dict[str, float]]:
        """The box, filled (everything, where there are no prompts); and the mask for another object's prompt, where the
        square has another object."""
        every = self.seen
        name = "filled_box" if self.prompts != "none" else "everything"
        found = {name: [one.filled for one in every]}
        if others := [one.other for one in every if one.other is not None]:
            found["prompt_of_another_object"] = others
        return {name: means(rows) for name, rows in found.items() if rows}
