"""Exact features on a GPU: the screen runs on the device, float64 decides there, and only the sparse rows come back.

    tiled.py              what both kernels share: batches are staged, cut into tiles, and the tiles halved when memory
                          runs out
    transfer.py           pinned buffers and copy streams, to the device and back
    device_rule.py        the rule on the device; decisions too close for float64 go to `rule.py` on the CPU
    assemble.py           the choice of the k largest, and the rows' CSR, on the device

    torch_kernel.py       a float32 screen through torch, for CUDA without Triton and for Apple's mps

    triton_kernel.py      a float16 or int8 screen on tensor cores, in the steps of the next six files:
    tensor_core_bound.py    the proof of the bound of a tensor core's product
    triton_choice.py        which of the two precisions, by a trial on the first rows
    triton_rows.py          rows scaled and rounded to float16 or int8
    triton_screen.py        the product, tested where it is computed -> one bit for each row and feature
    triton_candidates.py    bits -> pairs of row and feature
    triton_rescore.py       the pairs' values in float64

Nothing here imports the CPU's kernel.
"""
