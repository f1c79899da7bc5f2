"""Speech encoders whose weights torchaudio publishes: wav2vec 2.0 (Baevski et al., NeurIPS 2020, arXiv 2006.11477),
XLS-R (arXiv 2111.09296), HuBERT (arXiv 2106.07447), WavLM (arXiv 2110.13900) and MMS (arXiv 2305.13516).

Convolutions turn a waveform into 50 frames a second, and a transformer of 12 to 48 layers reads them. What torchaudio's
layers hand on to each other, WavLM's bias of relative positions, follows from the first layer's table and the number of
frames, and is given to every layer.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import torchaudio_bundles, weights
from zoo.backbones.base import Backbone
from zoo.backbones.draws import initialising
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.torchaudio_bundles import FORMS, RelativeAttention
from zoo.backbones.weights import WeightsError
from zoo.batch import Clip, tensor_of
from zoo.errors import SettingError
from zoo.ops.resample_audio import resample


class Layer(nn.Module):
    """One of torchaudio's layers as a map from tokens to tokens; made anew at each access to `blocks`.

    Args:
        layer: torchaudio's.
        bias: position bias for tokens, None where the architecture has none.
    """

    def __init__(self, layer: nn.Module, bias: Callable[[Tensor], Tensor | None]) -> None:
        super().__init__()
        self.layer, self.bias = layer, bias

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, L, D] -> [N, L, D]."""
        out: Tensor = self.layer(tokens, position_bias=self.bias(tokens))[0]
        return out


class TorchaudioEncoder(Backbone):
    """A speech encoder of torchaudio: 1 s of sound becomes 49 tokens. Pooled features are their mean.

    Where a bundle's weights want waveforms of mean 0 and variance 1, each segment is scaled by its own; torchaudio
    itself scales a whole batch at once, so that it gives the same for one segment at a time.

    Args:
        model: name of the bundle in `torchaudio.pipelines`, which brings the architecture.
        source: `torchaudio:BUNDLE` of that name, `file:PATH` of its checkpoint, or `random:SEED`.
        config: arguments of `torchaudio.models.wav2vec2_model` or `wavlm_model` in place of the bundle's, for `random:`
            and `file:`; refused with `torchaudio:`.

    Raises:
        UserError: torchaudio is not installed, or does not fit the installed torch.
        SettingError: it has no such bundle, or the architecture no such argument.
        WeightsError: the weights cannot be had, or do not fit.
    """

    stream = "audio"
    file_prefix = ""

    def __init__(
        self,
        *,
        model: str = "WAV2VEC2_BASE",
        source: str = "torchaudio:WAV2VEC2_BASE",
        config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.named(model, source)
        kind, bundle = weights.parse(source).kind, torchaudio_bundles.bundle_of(model)
        if config and kind == "torchaudio":
            raise WeightsError(f"{source}: config belongs to random: and file: sources; a bundle brings its own sizes")
        with initialising(source, model):
            self.net: Any = torchaudio_bundles.build(bundle, config or {})
        if kind != "random":
            weights.fill(
                self.net, torchaudio_bundles.renamed(weights.load_state_dict(weights.resolve(source)), source), source
            )
        self.rate, self.normalised = int(bundle.sample_rate), bool(bundle._normalize_waveform)
        self.dims = (self._transformer.pos_conv_embed.embed_dim,) * (len(self._transformer.layers) + 1)
        settings = {"model": model, "config": config or {}, "rate": self.rate, "normalised": self.normalised}
        self.fingerprint = fingerprint(self.net, settings | {"pool": "mean"}, of=weights.files_of(source))
        self.freeze()

    @staticmethod
    def named(model: str, source: str) -> None:
        """Refuse names that torchaudio does not know, or that differ; no weights are asked for.

        Raises:
            UserError: torchaudio cannot be imported.
            SettingError: of the model.
            WeightsError: of its weights.
        """
        parsed = weights.parse(source)
        if parsed.kind not in ("torchaudio", "file", "random"):
            raise WeightsError(f"source = {source!r}: expected {FORMS} for a speech encoder of torchaudio")
        torchaudio_bundles.bundle_of(model)
        if parsed.kind == "torchaudio" and parsed.name != model:
            torchaudio_bundles.bundle_of(parsed.name)
            raise SettingError(f"model = {model!r}, but source = {source!r}: expected weights of that model")

    def transform(self, clip: Clip) -> Tensor:
        """Windows to waveforms [T, S] at the bundle's rate.

        Raises:
            SettingError: windows shorter than one frame.
        """
        audio = tensor_of(clip.audio)
        if clip.sample_rate != self.rate:
            audio = resample(audio, clip.sample_rate, self.rate)
        least = 1
        for layer in reversed(self.net.feature_extractor.conv_layers):
            least = (least - 1) * layer.stride + layer.kernel_size
        if (length := audio.shape[-1]) < least:
            raise SettingError(
                f"{clip.id}: a segment has {length} samples at {self.rate} Hz, expected {least} or more "
                "(one frame): take longer segments"
            )
        return F.layer_norm(audio, audio.shape[-1:]) if self.normalised else audio

    def embed(self, inputs: Tensor) -> Tensor:
        """Waveforms [N, S] -> frames [N, L, D] before the first layer."""
        frames, _ = self.net.feature_extractor(inputs, None)
        tokens = self.net.encoder.feature_projection(frames)
        tokens = tokens + self._transformer.pos_conv_embed(tokens)
        out: Tensor = self._transformer.layer_norm(tokens) if self._norm_first else tokens
        return out

    @property
    def _transformer(self) -> Any:
        return self.net.encoder.transformer

    @property
    def _norm_first(self) -> bool:
        """Whether the transformer's own norm stands before its layers, as in the base sizes, or after them."""
        return bool(self._transformer.layer_norm_first)

    def _bias(self, tokens: Tensor) -> Tensor | None:
        first = self._transformer.layers[0].attention
        return first.bias(tokens.shape[1]).to(tokens.dtype) if isinstance(first, RelativeAttention) else None

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The transformer's layers."""
        return [Layer(layer, self._bias) for layer in self._transformer.layers]

    def finish(self, tokens: Tensor) -> Tensor:
        """The last norm of the large sizes; nothing follows the base sizes' last layer."""
        out: Tensor = tokens if self._norm_first else self._transformer.layer_norm(tokens)
        return out

    def pool(self, tokens: Tensor) -> Tensor:
        """Mean over frames."""
        return tokens.mean(1)
