"""Where the heavy linear algebra runs."""

from certnet.runtime.machine import gpu
from formulations import InputError

DEVICES = ("cpu", "cuda")


def require_device(device: str) -> None:
    """Make sure that a device can be used, before any work.

    Raises:
        InputError: an unknown device, no GPU, or no PyTorch that can use it.
    """
    if device not in DEVICES:
        raise InputError(f"The device must be one of {', '.join(DEVICES)}, not {device!r}.")
    if device == "cpu":
        return
    found = gpu()
    if not found["devices"]:
        raise InputError("The device cuda needs an NVIDIA GPU, and this machine shows none; use the device cpu.")
    if found["torch"] is None:
        raise InputError("The device cuda needs PyTorch, which is not installed: pip install certnet[gpu].")
    if not found["torch_cuda"]:
        raise InputError(
            f"PyTorch {found['torch']} cannot use this machine's GPU; install its CUDA build, or use the device cpu."
        )
