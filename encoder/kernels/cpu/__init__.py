"""Exact features on the CPU: a fast product screens the features, float64 decides about the few that remain.

    kernel.py     cuts the rows into tiles, one thread a tile, and leads each tile through the steps below
    calibrate.py  which precision the screen takes on this processor: int8, bfloat16 or float32
    trial.py      the same question asked of the first rows, where the processor alone does not answer it
    operand.py    rows and weights rounded for the product, and the norms that bound what the rounding loses
    floor.py      TopK only: a value that each row's k-th largest feature surely reaches
    screen.py     which features of which rows may be active, and their float64 values, put into rows
    lanes.py      the inner loops of the above, written as vector instructions

The bound, the rule and exact arithmetic are the same on a GPU; they stand in the folder above.
"""
