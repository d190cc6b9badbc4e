"""Where the numbers are computed: which device, and in which precision.

Both are decided by what the machine says of itself, never by timing it, so a run on the same machine always
decides the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import UserError

if TYPE_CHECKING:
    import torch

DEVICES = ("cuda", "mps", "cpu")


def choose_device(name: str | None = None) -> torch.device:
    """The named device, or the first of cuda, mps and cpu that this machine has.

    Raises:
        UserError: if the named device is not here.
    """
    if name is None:
        name = next(device for device in DEVICES if is_available(device))
    kind = name.split(":")[0]
    if kind not in DEVICES:
        raise UserError(f"no device named {name!r}; there are {', '.join(DEVICES)}")
    import torch

    count = torch.cuda.device_count() if kind == "cuda" else 1
    if name not in (kind, *(f"{kind}:{number}" for number in range(count))) or not is_available(kind):
        raise UserError(f"device {name!r} is not available here; leave --device out to use what is")
    return torch.device(name)


def is_available(kind: str) -> bool:
    """Whether torch can compute on this kind of device here."""
    import torch

    if kind == "cuda":
        return torch.cuda.is_available()
    if kind == "mps":
        return torch.backends.mps.is_available()
    return kind == "cpu"


def describe_device(device: torch.device) -> str:
    """The device and why it is this one, in a few words."""
    import torch

    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    if device.type == "mps":
        return "mps (Apple GPU; no CUDA device here)"
    return "cpu (no CUDA or Apple GPU in use)"


def supports_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions that multiply bf16 numbers.

    On a processor these are AVX512-BF16 or AMX (Intel, AMD) or the bf16 extension (Arm). Without them bf16 is
    emulated, and slower than fp32.
    """
    import torch

    if device.type == "cuda":
        # Emulation counts as support in torch's default answer; only the real instructions are fast.
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def peak_flops(device: torch.device) -> float | None:
    """Highest rate of dense bf16 matrix products in FLOP/s, from the vendor's data sheet; None where
    unknown."""
    import torch

    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((teraflops * 1e12 for key, teraflops in _PEAK_TERAFLOPS.items() if key in name), None)


# Dense bf16, without sparsity. Longer names stand before the shorter ones that they contain.
_PEAK_TERAFLOPS = {
    "B200": 2250.0, "H200": 989.0, "H100 PCIe": 756.0, "H100 NVL": 835.0, "H100": 989.0, "A100": 312.0,
    "L40S": 362.0, "L4": 121.0, "A10G": 70.0, "RTX 5090": 209.5, "RTX 4090": 165.2, "RTX 3090": 71.0,
}  # fmt: skip
