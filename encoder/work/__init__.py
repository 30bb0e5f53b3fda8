"""From what the user names to features on disk, and from an array to features in memory.

    inputs -> submit.py -> jobs of a queue -> worker.py -> job.py -> encode.py -> one .npz a shard and SAE
    array  -> memory.py -> CSR

One SAE is the usual case of many. A job is one shard with all SAEs that it is for; its rows are read once for as many
SAEs as are loaded at a time.

rounds.py      the jobs of one run, worked on until nothing is left to do
submit.py      the data files below the inputs, the name of each result, a ticket for each
enqueue.py     jobs for a queue that others work on
parts.py       the shards of one of several processes, by number
record.py      `_run.json`: one folder, one SAE and one setting
failures.py    `_failed/`: why a shard has no result
resume.py      is a shard finished already; what may not be mixed in one folder
worker.py      the loop: claim, have the job encoded, end the claim
job.py         one job: its SAEs, finished before?, encode
matching.py    which rows of a file are for which SAE
saes.py        the SAEs that are loaded at a time, with their kernels
stream.py      the rows of one place in a shard, and the SAEs that share their reading
encode.py      one shard: read, check, kernels, write, all at the same time
progress.py    how far a shard is
made.py        what an attempt made of a job, SAE by SAE
counting.py    the rows that do not count, and why
room.py        does a result fit into one conditional write?
remarks.py     rows of zeros, and runs of identical rows
sound.py       NaN and infinity, found in one pass
watch.py       `--watch`: jobs for what is dropped into a folder
processes.py   several workers for one run
totals.py      the sums of what a worker did, and who hears of it
display.py     what a worker tells, as progress or as JSON lines
memory.py      encode: rows in memory, without files and queue
by_sae.py      what became of each SAE over all shards
survey.py      the SAEs of a pattern that no shard is for
named.py       the SAEs that a caller means, and the folders of their results
wanted.py      the SAEs of a run: known at once, loaded when they are needed
warm.py        imports beside the reading of weights
"""
