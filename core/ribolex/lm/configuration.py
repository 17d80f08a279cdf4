"""The sizes of a RiNALMo network.

Knows numbers only; nothing of tensors or files.
"""

from dataclasses import asdict, dataclass
from typing import Any

MAX_NUCLEOTIDES = 1022
"""RiNALMo's trained context of 1,024 tokens, less CLS and EOS."""


@dataclass(frozen=True, slots=True)
class LmConfig:
    """Sizes of one network (Penic et al. 2024, arXiv 2403.00043).

    `ffn_hidden` is the published width, int(2/3 * 4 * d_model); the network pads
    it on its own where that is faster.
    """

    d_model: int
    n_layers: int
    n_heads: int
    ffn_hidden: int

    @classmethod
    def of_width(cls, d_model: int, n_layers: int, n_heads: int) -> "LmConfig":
        """Returns the configuration with RiNALMo's rule for the FFN width."""
        return cls(d_model, n_layers, n_heads, int(2 / 3 * 4 * d_model))

    @property
    def d_head(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_heads

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return asdict(self)


PRESETS: dict[str, LmConfig] = {
    "rinalmo-nano": LmConfig.of_width(320, 6, 20),
    "rinalmo-micro": LmConfig.of_width(480, 12, 20),
    "rinalmo-mega": LmConfig.of_width(640, 30, 20),
    "rinalmo-giga": LmConfig.of_width(1280, 33, 20),
}
