"""Who shares out the shards of a run among machines: a cluster's own scheduler, by scripts that are printed here.

template.py     what all scripts have in common: the command, its part, the limit on time
slurm.py        an array of tasks
kubernetes.py   an Indexed Job
skypilot.py     a task of several nodes
"""
