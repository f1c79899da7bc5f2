"""Errors that are the user's to mend: a command shows their message alone, and any other with its traceback."""

import importlib.util

EXTRAS = {
    "audio": ("av", "soundfile"),
    "vision": ("onnx", "open_clip", "timm", "torchvision"),
    "points": ("h5py", "laspy", "lazrs", "numba", "trimesh"),
    "vlm": ("gguf", "transformers"),
    "raster": ("rasterio",),
    "medical": ("nibabel",),
    "peft": ("peft",),
    "cuda": ("bitsandbytes",),
    "mamba": ("mamba_ssm",),
    "export": ("onnxruntime", "onnxscript"),
    "demo": ("gradio", "markdown_it", "markupsafe", "plotly"),
    "sweep": ("optuna",),
    "torchaudio": ("torchaudio",),
    "ray": ("ray",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "trackio": ("trackio",),
}
"""Extras of the distribution, and what each brings, by the names that are imported."""

OPTIONAL = {package: extra for extra, packages in EXTRAS.items() for package in packages}
"""The extra of every optional package."""

ENDED = {"torchaudio": "torchaudio ends at 2.11, which needs torch 2.11"}
"""What must be known of an optional package before it is installed."""


class UserError(Exception):
    """An error in the recipe, the files or the machine; the message says what to do."""


class SettingError(UserError, ValueError):
    """A recipe's value is well-typed, but does not fit the backbones, the method or the data it stands beside."""


def require_packages(what: str, *packages: str) -> None:
    """Optional packages are installed; nothing is imported for it.

    Args:
        what: needs them, for the message.
        *packages: by the names that are imported.

    Raises:
        UserError: naming those that are not, and the command that installs them.
    """
    if absent := absent_of(*packages):
        raise UserError(f"{what} needs {lacking(*absent)}")


def absent_of(*packages: str) -> list[str]:
    """Those that are not installed."""
    return [package for package in packages if importlib.util.find_spec(package) is None]


def lacking(*packages: str) -> str:
    """`av and numba, which are not installed: pip install 'multimodal-peft-zoo[audio,points]'`."""
    names = " and ".join(filter(None, (", ".join(packages[:-1]), packages[-1])))
    return f"{names}, which {'is' if len(packages) == 1 else 'are'} not installed: {install(*packages)}"


def install(*packages: str) -> str:
    """The command that installs optional packages, and what must be known of them."""
    extras = ",".join(sorted({OPTIONAL[package] for package in packages}))
    return "; ".join([f"pip install 'multimodal-peft-zoo[{extras}]'", *(ENDED[p] for p in packages if p in ENDED)])
