"""What metrics and predictors are called for a reader, and which way is good: the one place that says it.

Keys of records stay as they are (`gsd_mae_octaves`); a table, a card, a picture and a page show these words. A metric
of another package's task is called by its key.
"""

import re

LOWER = "lower is better"

HIGHER_ELSE = "higher is better where nothing else is said"
"""Said once below a table."""

NAMES = {
    "instance_miou": "IoU, mean over shapes",
    "class_miou": "IoU, mean over categories",
    "mean_class_accuracy": "accuracy, mean over classes",
    "accuracy_upstream": "accuracy, read as the benchmark's script reads",
    "upstream_macro": "the same, the benchmark script's macro average",
    "task_macro": "accuracy, mean over kinds of question",
    "group_macro": "accuracy, mean over groups of kinds",
    "average_accuracy": "accuracy, mean over kinds of question",
    "accuracy_without_count_and_area": "accuracy, without counts and areas",
    "segment_f1": "F1 of segments",
    "event_f1": "F1 of events",
    "mean_of_three": "mean of accuracy and both F1",
    "parse_failures": "answers that name no choice",
    "iou": "IoU",
    "filled_box": "the box, filled",
    "prompt_of_another_object": "the prompt of another object",
    "without": "the trained method, by nothing",
    "lora": "LoRA",
    "static_lora": "static LoRA",
    "gsd_mae_octaves": "scale error, octaves",
    "gsd_constant_mae_octaves": "scale error of always saying the median, octaves",
    "gsd_coverage_90": "true scales within the 90 % interval",
    "gsd_deviation_octaves": "median uncertainty stated, octaves",
    "mean_iou": "IoU, mean over classes",
    "foreground_iou": "IoU, mean over classes but the first",
    "foreground_dice": "Dice, mean over classes but the first",
    "picture_dice": "Dice, mean over pictures",
    "neither": "cases left out: no such region in label or prediction",
    "false_regions": "regions claimed where the label has none",
    "boundary_f": "F1 of borders, within 2 pixels",
    "v_rand": "V-Rand of cells",
    "volume_dice": "Dice, mean over volumes",
    "volume_nsd": "surface Dice of volumes, within 2 mm",
    "volume_dice_transunet": "Dice, mean over volumes, empty ones as TransUNet's script counts them",
    "volume_neither": "cases of volumes left out: no such region in label or prediction",
    "volume_false": "regions claimed in volumes whose label has none",
    "volume_missed": "regions missed altogether in volumes",
    "volume_hd95": "HD95, mm, mean over volumes where label and prediction have the class",
    "volume_hd95_transunet": "HD95, voxels, mean over volumes, empty ones as TransUNet's script counts them",
    "frame_iou": "IoU, mean over frames",
    "object_iou": "IoU, mean over frames with a sounding object",
    "object_f": "F at .5, mean over frames with a sounding object",
    "empty_iou": "share left alone of frames without a sounding object",
    "aurac": "mean over ranks (AURAC), 0 to 1",
    "aurac_log": "mean over the logarithm of ranks (AURAC), 0 to 1",
    "usual_mask": "the mean training mask",
    "prior_precision": "precision of the prior",
    "effective_parameters": "numbers that the data determine",
    "log_evidence": "log evidence, nats",
    "nll": "NLL, nats",
    "brier": "Brier score, 0 to 2",
    "ece_15": "ECE, 15 bins",
    "ece_20": "ECE, 20 bins",
}

CALIBRATION = ("nll", "brier", "ece_15", "ece_20")
"""Of class probabilities, in units of their own, where other metrics of a task have one in common: records keep them
apart, and tables of their own show them. `zoo.metrics.calibration` has the formulas."""

IOU_OF = "iou/"
"""Of one class: `iou/CLASS`."""

PROBES = {
    "blank_image": "picture blank",
    "wrong_gsd": "another picture's scale",
    "unknown_gsd": "scale not told",
    "silence": "without sound",
    "blank_pictures": "pictures blank",
    "other_sound": "another clip's sound",
    "noise_10_db": "noise 10 dB below the sound",
    "noise_0_db": "noise as loud as the sound",
}
"""Looks at the test split with part of the input spoilt: METRIC_PROBE is the metric there."""

POINTS = {
    "prediction_linearised": "linearised posterior",
    "prediction_draws": "weights drawn from the posterior",
    "prediction_map": "trained weights alone",
}
"""METRIC_POINT is the metric with another setting of the trained method."""

PARTS = {"seen": "seen classes", "unseen": "unseen classes"}
"""METRIC_PART is the metric on some samples of the split."""

REPLACED = {
    "mean": "by its mean over the samples",
    "other": "by another sample's",
    "open": "by 1",
    "alike": "by the mean of all classes",
    "meaningless": "by text without meaning",
}
"""MECHANISM_REPLACEMENT is an intervention on a method: a part of it, replaced while a split is measured."""

GOOD = {
    "parse_failures": LOWER,
    "loss": LOWER,
    "gsd_mae_octaves": LOWER,
    "gsd_constant_mae_octaves": "to compare with",
    "gsd_coverage_90": "0.9 is best",
    "gsd_deviation_octaves": "neither way is better",
    "neither": "neither way is better",
    "false_regions": LOWER,
    "volume_neither": "neither way is better",
    **dict.fromkeys(("volume_false", "volume_missed", "volume_hd95", "volume_hd95_transunet"), LOWER),
    **dict.fromkeys(CALIBRATION, LOWER),
}

CALLED = {"TBAVA": "TB-AVA", "PointMAE": "Point-MAE", "Projector": "LLaVA, first stage", "Frozen": "a head alone"}
"""Of classes whose names are not what the method is called."""


def called(name: str) -> str:
    """A method by the name of its class, in its paper's spelling."""
    return CALLED.get(name, name)


def named(key: str) -> str:
    """A metric, predictor or variant in words."""
    beside = PROBES | POINTS
    if key in NAMES or key in beside:
        return NAMES.get(key) or beside[key]
    for probe, words in beside.items():
        if key.endswith(f"_{probe}"):
            return f"{named(key.removesuffix(f'_{probe}'))}, {words}"
    if key.startswith(IOU_OF):
        return f"IoU of {key.removeprefix(IOU_OF)}"
    if point := re.fullmatch(r"(?:(.+)_)?rank_(\d+)", key):
        return f"{named(point[1])}, rank {point[2]}" if point[1] else f"rank {point[2]}"
    metric, _, part = key.rpartition("_")
    return f"{named(metric)}, {PARTS[part]}" if metric and part in PARTS else key.replace("_", " ")


def replaced(key: str) -> str:
    """An intervention on a method in words."""
    mechanism, _, replacement = key.rpartition("_")
    return f"{named(mechanism)}, {REPLACED[replacement]}" if replacement in REPLACED else named(key)


def directed(key: str) -> str:
    """A metric in words, with the good direction in brackets where higher is not better."""
    return f"{named(key)} ({GOOD[key]})" if key in GOOD else named(key)


def logged(key: str, monitor: str) -> str:
    """What a training logs as SPLIT/NAME, in words: `val/selected` is the metric that selects the checkpoint."""
    split, _, name = key.partition("/")
    return f"{split} {named(monitor if name == 'selected' else name)}"
