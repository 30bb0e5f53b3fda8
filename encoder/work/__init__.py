"""From what the user names to features on disk, and from an array to features in memory.

    inputs -> submit.py -> jobs of a queue -> worker.py -> job.py -> encode.py -> one .npz a shard
    array  -> memory.py -> CSR

run.py         encode_files, and `sae-encode run`
rounds.py      the jobs of one run, worked on until nothing is left to do
submit.py      the data files below the inputs, the name of each result, a ticket for each
enqueue.py     jobs for a queue that others work on
resume.py      is a shard finished already; what may not be mixed in one folder
worker.py      the loop: claim, have the job encoded, end the claim
job.py         one job: its SAE and kernel, finished before?, encode, publish
progress.py    how far a shard is
encode.py      one shard: read, check, kernel, write, all at the same time
sound.py       NaN and infinity, found in one pass
watch.py       `--watch`: jobs for what is dropped into a folder
processes.py   several workers for one run
totals.py      the sums of what a worker did, and who hears of it
display.py     what a worker tells, as progress or as JSON lines
memory.py      encode: rows in memory, without files and queue
named.py       the SAE that a caller means
warm.py        imports beside the reading of weights
"""
