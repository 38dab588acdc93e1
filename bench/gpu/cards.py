"""What a graphics card can do at most, and what share of it a kernel reaches: the roofline (Williams et al. 2009)."""

from __future__ import annotations

from dataclasses import dataclass

TERA, GIGA = 1e12, 1e9


@dataclass(frozen=True)
class Card:
    """Peaks by the vendor's data sheet, at boost clock, without sparsity.

    half: FLOP/s of tensor cores on 16-bit floats with float32 sums. tf32: of tensor cores on TF32. single: of float32
    without tensor cores. bandwidth: bytes a second of the card's memory.
    """

    half: float
    tf32: float
    single: float
    bandwidth: float

    def flops(self, kind: str) -> float:
        """``kind``: "half", "tf32" or "single"."""
        return {"half": self.half, "tf32": self.tf32, "single": self.single}[kind]


def _card(half: float, tf32: float, single: float, bandwidth: float) -> Card:
    """In TFLOP/s and GB/s."""
    return Card(half * TERA, tf32 * TERA, single * TERA, bandwidth * GIGA)


# By the name that the driver gives. Where a data sheet only has numbers with sparsity, half of them.
CARDS = {
    # NVIDIA H100 Tensor Core GPU Architecture (white paper, 2022), table 2 and 3; NVL: data sheet of 2024
    "NVIDIA H100 80GB HBM3": _card(989.4, 494.7, 66.9, 3352),  # SXM5
    "NVIDIA H100 PCIe": _card(756, 378, 51.2, 2039),
    "NVIDIA H100 NVL": _card(835.5, 417.5, 60, 3938),
    # NVIDIA H200 Tensor Core GPU (data sheet, 2024)
    "NVIDIA H200": _card(989.5, 494.5, 67, 4800),  # SXM
    "NVIDIA H200 NVL": _card(835.5, 417.5, 60, 4800),
    # NVIDIA A100 Tensor Core GPU (data sheet, 2021)
    "NVIDIA A100-SXM4-40GB": _card(312, 156, 19.5, 1555),
    "NVIDIA A100-PCIE-40GB": _card(312, 156, 19.5, 1555),
    "NVIDIA A100-SXM4-80GB": _card(312, 156, 19.5, 2039),
    "NVIDIA A100 80GB PCIe": _card(312, 156, 19.5, 1935),
    # NVIDIA A10, L4, L40S (data sheets, 2021, 2023, 2023)
    "NVIDIA A10": _card(125, 62.5, 31.2, 600),
    "NVIDIA L4": _card(121, 60, 30.3, 300),
    "NVIDIA L40S": _card(362, 183, 91.6, 864),
    # NVIDIA Ampere GA102 (white paper, 2020) and Ada (white paper, 2022), appendix A; 16 bits with float32 sums
    "NVIDIA GeForce RTX 3090": _card(71, 35.6, 35.6, 936),
    "NVIDIA GeForce RTX 4090": _card(165.2, 82.6, 82.6, 1008),
}


def roofline(flops: float, moved: float, kind: str, card: Card | None, copied: float) -> float | None:
    """The least seconds in which ``flops`` can be computed and ``moved`` bytes read and written, side by side.

    copied: bytes a second that a copy reads and writes, as measured. It takes the data sheet's place where the card is
    none of CARDS; then only what computes nothing has a limit, otherwise it is None.
    """
    if card is None:
        return None if flops else moved / copied
    return max(flops / card.flops(kind), moved / card.bandwidth)
