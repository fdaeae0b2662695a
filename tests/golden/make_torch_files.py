"""Make torch_zip.pth, torch_legacy.pth and torch_expected.npz, by torch itself.

    pip install torch numpy
    python tests/golden/make_torch_files.py

Both files hold one checkpoint, in the formats since torch 1.6 and before it: what a training loop
saves, with a state dict of the tensors that are easily read wrong. The arrays in the .npz are those
of the state dict, by name, as torch itself shows them; bfloat16 as float32.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent


def state_dict():
    torch.manual_seed(7)
    model = torch.nn.Sequential(torch.nn.Conv3d(2, 3, 2), torch.nn.BatchNorm3d(3))
    model[1].running_mean += torch.arange(3)
    state = model.state_dict()  # an OrderedDict with an attribute _metadata
    table = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state["raw.parameter"] = torch.nn.Parameter(torch.randn(2, 2))
    state["shared.whole"] = table
    state["shared.transposed"] = table.T
    state["shared.part"] = table[1:3, 1::2]
    state["shared.reversed_axes"] = table.reshape(2, 2, 6).permute(2, 0, 1)
    state["tied"] = state["0.weight"]
    state["expanded"] = torch.tensor([1.5, -2.5])[:, None].expand(2, 3)
    state["bfloat16"] = torch.tensor([1.0, -0.0, 3.14159, 1e38, float("inf")]).bfloat16()
    state["half"] = torch.tensor([1.0, 6e-8, -65504.0]).half()
    state["double"] = torch.tensor([[1 / 3]], dtype=torch.float64)
    state["mask"] = torch.tensor([[True, False], [False, True]])
    for kind in (torch.int8, torch.int16, torch.int32, torch.int64):
        state[str(kind)] = torch.tensor([torch.iinfo(kind).min, 0, torch.iinfo(kind).max])
    state["uint8"] = torch.tensor([0, 255], dtype=torch.uint8)
    state["uint16"] = torch.tensor([1, 65535], dtype=torch.uint16)
    state["number"] = torch.tensor(2.5)
    state["empty"] = torch.empty(0, 3)
    state["empty_part"] = table[4:]
    return state


def as_numpy(tensor):
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def main():
    state = state_dict()
    weight = state["0.weight"].clone()
    checkpoint = {
        "epoch": 12,
        "arch": "sequential é",
        "best_acc1": np.float64(71.25),
        "state_dict": state,
        "optimizer": {
            "state": {0: {"momentum_buffer": weight, "step": 3}},
            "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "nesterov": False, "params": [0]}],
        },
        "scheduler": {"milestones": Counter([30, 60, 60]), "last": None},
        "rng": np.arange(3, dtype=np.uint32),
        "size": weight.size(),
        "device": torch.device("cuda", 1),
        "dtype": torch.float16,
    }
    torch.save(checkpoint, HERE / "torch_zip.pth")
    torch.save(checkpoint, HERE / "torch_legacy.pth", _use_new_zipfile_serialization=False)
    np.savez(HERE / "torch_expected.npz", **{name: as_numpy(t) for name, t in state.items()})


if __name__ == "__main__":
    main()
