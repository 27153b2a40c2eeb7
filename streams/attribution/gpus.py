"""What data sheets and public measurements say of a GPU: the ground an energy model's prior stands on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas.errors import AttributionError

__all__ = ["GPU_SHEETS", "GpuSheet", "gpu_sheet"]


@dataclass(frozen=True, slots=True)
class GpuSheet:
    """One accelerator."""

    name: str
    tdp_w: float
    """Board power limit."""
    peak_flops: float
    """Dense bf16 operations per second (fp16 where there is no bf16)."""
    memory_bytes_per_s: float
    idle_w: float
    """At rest with a model loaded: bare idle plus what an open CUDA context adds."""
    idle_source: str
    read_pj_per_byte: float | None = None
    """Measured energy of a decode iteration per byte read; None: estimated from the sheet."""

    @property
    def byte_j(self) -> float:
        """Joules per byte read from memory, static power meanwhile included.

        Where it was not measured: 0.87 of the board's power over the sheet's bandwidth, the ratio at which
        H100 reads (185 pJ × 3.35 TB/s / 700 W).
        """
        if self.read_pj_per_byte is not None:
            return self.read_pj_per_byte * 1e-12
        return 0.87 * self.tdp_w / self.memory_bytes_per_s

    @property
    def flop_j(self) -> float:
        """Joules per operation in large matrix products, at 60 % of the sheet's peak and full power."""
        return self.tdp_w / (0.6 * self.peak_flops)


_PARKED: Final = "public measurements of loaded idle GPUs"
_ESTIMATE: Final = "estimate: a seventh of the board's power, as A100 and H100 draw"

GPU_SHEETS: Final[Mapping[str, GpuSheet]] = {
    sheet.name: sheet
    for sheet in (
        # read_pj_per_byte: fixed term of dense fits to ML.ENERGY v2 and v3 over the checkpoint's bytes.
        GpuSheet("A100", 400, 312e12, 2.04e12, 70, _PARKED, read_pj_per_byte=240),
        GpuSheet("H100", 700, 989e12, 3.35e12, 120, _PARKED, read_pj_per_byte=185),
        GpuSheet("H200", 700, 989e12, 4.8e12, 77, _PARKED),
        GpuSheet("B200", 1000, 2250e12, 8.0e12, 140, _ESTIMATE, read_pj_per_byte=190),
        GpuSheet("L40S", 350, 362e12, 0.864e12, 101, _PARKED),
        GpuSheet("L4", 72, 121e12, 0.3e12, 10, _ESTIMATE),
        GpuSheet("A10", 150, 125e12, 0.6e12, 21, _ESTIMATE),
        GpuSheet("T4", 70, 65e12, 0.32e12, 10, _ESTIMATE),
        GpuSheet("V100", 300, 125e12, 0.9e12, 43, _ESTIMATE),
        GpuSheet("MI300X", 750, 1307e12, 5.3e12, 107, _ESTIMATE),
    )
}


def gpu_sheet(gpu_model: str) -> GpuSheet:
    """The sheet whose name is a word of `gpu_model`, such as `NVIDIA H100 80GB HBM3`."""
    words = gpu_model.upper().replace("-", " ").replace("_", " ").split()
    for word in words:
        if word in GPU_SHEETS:
            return GPU_SHEETS[word]
    raise AttributionError(
        f"gpu_model = {gpu_model!r}: no data sheet is known ({', '.join(GPU_SHEETS)}); pass a GpuSheet"
    )
