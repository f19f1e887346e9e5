"""What a decoder is: sizes and switches, and its parameter tree."""

import dataclasses
from typing import Any

from grpo_jax.models.rope import RopeScaling

ACTIVATIONS = ("silu", "gelu_tanh")
ATTENTIONS = ("xla", "splash", "splash_interpreted", "cudnn")
COMPUTE_DTYPES = ("float32", "bfloat16", "float64")
SIZES = {  # the largest that is believed: far above any model, and far below what would fill the memory
  "vocab_size": 2**31, "num_layers": 10_000, "width": 2**24, "ffn_width": 2**24,
  "num_heads": 2**16, "num_kv_heads": 2**16, "head_width": 2**16, "max_positions": 2**31,
}


def check_size(name: str, value: Any, largest: int) -> None:
  """Raises ValueError unless the value is an integer from 1 to `largest`; `name` is what the message calls it."""
  if not isinstance(value, int) or isinstance(value, bool) or value < 1:
    raise ValueError(f"{name} = {value!r} is not a positive integer; give one.")
  if value > largest:
    raise ValueError(f"{name} = {value!r:.40} is above {largest}, which no model is; correct it.")


def is_number(value: Any) -> bool:
  """Whether the value is a finite number, and no truth value."""
  return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """Sizes and switches of a pre-norm decoder with rotary positions and a gated MLP.

  Hashable, so that jit takes it as a static argument. Raises ValueError for values that cannot work.
  """

  vocab_size: int  # V
  num_layers: int  # L
  width: int  # D
  ffn_width: int  # F
  num_heads: int  # H, query heads
  num_kv_heads: int  # K, a divisor of H
  head_width: int  # E, even
  rope_theta: float = 10000.0  # base of the rotary wavelengths; half-split layout
  rope_scaling: RopeScaling | None = None  # how they were changed for longer contexts
  norm_epsilon: float = 1e-5  # added to the mean square in every RMS norm
  tie_embeddings: bool = True  # the output matrix is the transposed embedding
  attention_bias: bool = False  # biases on q, k and v, never on o (Qwen2)
  qk_norm: bool = False  # RMS norm of each query and key head before the rotation (Qwen3, Gemma 3)
  activation: str = "silu"  # of the gated MLP: silu | gelu_tanh (Gemma)
  sandwich_norms: bool = False  # RMS norms after attention and MLP too, before they are added (Gemma 2, 3)
  norm_offset: bool = False  # norm weights are stored as differences from 1 (Gemma)
  scale_embeddings: bool = False  # embeddings are multiplied by sqrt(width) on the way in (Gemma)
  query_scalar: float | None = None  # attention scores are divided by its square root; None is head_width
  attention_cap: float = 0.0  # soft cap of attention scores, c·tanh(s / c); 0 is off (Gemma 2)
  logit_cap: float = 0.0  # soft cap of the output logits; 0 is off (Gemma 2)
  layer_windows: tuple[int, ...] = ()  # tokens each layer looks back over, its own included; 0 is all; () is all 0
  window_rope_theta: float | None = None  # rotary base of windowed layers; None: as the others, scaling too (Gemma 3)
  window_rope_scaling: RopeScaling | None = None  # beside window_rope_theta
  max_positions: int = 2048  # longest sequence the weights were trained for, in tokens
  # Choices of the run, in no checkpoint:
  compute_dtype: str = "float32"  # activations: float32 | bfloat16; parameters stay float32
  remat: bool = False  # recompute each layer in the backward pass: less memory, about a third more time
  attention: str = "xla"  # of groups: xla | splash (TPU) | splash_interpreted (anywhere, slow) | cudnn (GPU)
  scan_layers: bool = True  # loop over one compiled layer; False unrolls (faster on CPU, slower to compile)

  def __post_init__(self):
    for name, largest in SIZES.items():
      check_size(f"ModelConfig.{name}", getattr(self, name), largest)
    for name in ("rope_theta", "norm_epsilon"):
      if not is_number(getattr(self, name)) or getattr(self, name) <= 0:
        raise ValueError(f"ModelConfig.{name} = {getattr(self, name)!r}; give a positive number.")
    if self.norm_epsilon >= 1:
      raise ValueError(f"ModelConfig.norm_epsilon = {self.norm_epsilon!r} drowns what it is added to; give e.g. 1e-6.")
    if self.num_heads % self.num_kv_heads:
      raise ValueError(
        f"ModelConfig.num_kv_heads = {self.num_kv_heads} does not divide num_heads = {self.num_heads}; "
        "choose a divisor.")
    if self.head_width % 2:
      raise ValueError(
        f"ModelConfig.head_width = {self.head_width} is odd; rotary positions turn pairs, make it even.")
    if self.attention_bias and self.qk_norm:
      raise ValueError(
        "ModelConfig.attention_bias and qk_norm are both True; no known model family has both, turn one off.")
    if self.activation not in ACTIVATIONS:
      raise ValueError(f"ModelConfig.activation = {self.activation!r}; choose {' or '.join(ACTIVATIONS)}.")
    self._check_attention()
    if self.attention not in ATTENTIONS:
      raise ValueError(f"ModelConfig.attention = {self.attention!r}; choose {' or '.join(ATTENTIONS)}.")
    if self.attention == "cudnn" and (self.compute_dtype != "bfloat16" or self.attention_cap):
      raise ValueError(
        f"ModelConfig.attention = 'cudnn' with compute_dtype = {self.compute_dtype!r} and attention_cap = "
        f"{self.attention_cap}; cuDNN's kernel wants bfloat16 and no cap, choose xla.")
    if self.compute_dtype not in COMPUTE_DTYPES:
      raise ValueError(
        f"ModelConfig.compute_dtype = {self.compute_dtype!r}; choose {' or '.join(COMPUTE_DTYPES)}.")

  def _check_attention(self):
    for name in ("query_scalar", "window_rope_theta"):
      value = getattr(self, name)
      if value is not None and (not is_number(value) or value <= 0):
        raise ValueError(f"ModelConfig.{name} = {value!r}; give a positive number or None.")
    for name in ("attention_cap", "logit_cap"):
      if not is_number(getattr(self, name)) or getattr(self, name) < 0:
        raise ValueError(f"ModelConfig.{name} = {getattr(self, name)!r}; give a positive number, or 0 for none.")
    if len(self.layer_windows) not in (0, self.num_layers):
      raise ValueError(
        f"ModelConfig.layer_windows has {len(self.layer_windows)} entries for num_layers = {self.num_layers}; "
        "give one for each layer, or none.")
    if any(not isinstance(w, int) or w < 0 for w in self.layer_windows):
      raise ValueError(f"ModelConfig.layer_windows = {self.layer_windows}; give numbers of tokens, 0 for all.")
    if self.window_rope_scaling is not None and self.window_rope_theta is None:
      raise ValueError("ModelConfig.window_rope_scaling needs window_rope_theta; give both, or neither.")

  @property
  def windows(self) -> tuple[int, ...]:
    """The kinds of layers: the distinct windows, increasing."""
    return tuple(sorted(set(self.layer_windows))) or (0,)

  def kind_of(self, layer: int) -> int:
    """Index into `windows` of a layer."""
    return self.windows.index(self.layer_windows[layer]) if self.layer_windows else 0

  def rope_of(self, window: int) -> tuple[float, RopeScaling | None]:
    """(theta, scaling) of the layers with this window."""
    if window and self.window_rope_theta is not None:
      return self.window_rope_theta, self.window_rope_scaling
    return self.rope_theta, self.rope_scaling

  @property
  def attention_scale(self) -> float:
    """What the products of queries and keys are multiplied by."""
    return (self.query_scalar or self.head_width) ** -0.5


def param_shapes(cfg: ModelConfig) -> dict[str, Any]:
  """The parameter tree, shapes for arrays: the one place that says which parameters exist.

  Layers are stacked on axis 0; matrices are `[in, out]`, so that `y = x @ w`.
  """
  L, D, F = cfg.num_layers, cfg.width, cfg.ffn_width
  queries, keys = cfg.num_heads * cfg.head_width, cfg.num_kv_heads * cfg.head_width
  layers = {
    "attention_norm": (L, D),
    "q": (L, D, queries), "k": (L, D, keys), "v": (L, D, keys), "o": (L, queries, D),
    "mlp_norm": (L, D),
    "gate": (L, D, F), "up": (L, D, F), "down": (L, F, D),
  }
  if cfg.attention_bias:
    layers |= {"q_bias": (L, queries), "k_bias": (L, keys), "v_bias": (L, keys)}
  if cfg.qk_norm:
    layers |= {"q_norm": (L, cfg.head_width), "k_norm": (L, cfg.head_width)}
  if cfg.sandwich_norms:
    layers |= {"attention_out_norm": (L, D), "mlp_out_norm": (L, D)}
  shapes = {"embed": (cfg.vocab_size, D), "layers": layers, "final_norm": (D,)}
  if not cfg.tie_embeddings:
    shapes["lm_head"] = (D, cfg.vocab_size)
  return shapes
