"""Who shares out the shards of a run: this machine, or a cluster's own scheduler by a script that is printed here.

run.py          encode_files, and `sae-encode run`

cluster/        --engine ray: shards to workers on the machines of a Ray cluster
template.py     what all scripts have in common: the command, its part, the limit on time
slurm.py        an array of tasks
kubernetes.py   an Indexed Job
skypilot.py     a task of several nodes
"""
