"""`--engine ray`: the shards of a run on the machines of a Ray cluster.

    this process (the driver)                                a worker: an actor of Ray, on any machine
    work.py      the jobs of the run  --- brief, letters -->  actor.py    loads the SAE, encodes shard after shard
    dispatch.py  who gets which shard <------- receipts ----  attempt.py  writes and publishes one result
    actors.py    the workers          <-------- signs ------

crew.py       what the workers are for who shares out the shards
connect.py    Ray itself: installed, reachable, with the machines that are asked for
letters.py    what goes to a worker and comes back: strings of some hundred bytes
strays.py     the half-written files of attempts that were cut off
tally.py      how far the run is, and worker hours

Activations, weights and features never pass through Ray: a worker loads the SAE by its name, reads the shard where it
lies and publishes the result itself. What makes lost machines harmless is that publication (`encoder.queue.publish`): a
result is created whole or not at all, two results of one shard are the same bytes, and none replaces that of another
shard. So the driver may give a shard away again whenever it doubts a worker.

A worker is doubted when Ray says that its process or its machine is gone, or when it gives no sign for `lease_s`. Ray
starts a lost actor again, elsewhere if need be; its shard goes to the next free worker. A shard that fails, or whose
worker's process dies, has `max_attempts`; one whose machine was lost has lost no attempt. Without any worker for
PATIENCE leases the run ends, and what is finished stays.

The driver keeps nothing that the results do not say. Where it dies, its actors end with it, and the run is started
again.
"""
