"""The directory queue: jobs are small files in four folders, and a job moves when its file is renamed.

ticket.py      a job: what to encode, and what became of it
spool.py       the folders, the names of the files in them, and the two rules for every move
claim.py       a job that a worker has, and the ways out of it
publish.py     how an output gets its final name, and whose name it never takes
publish_object.py   the same at an address
queue.py       Queue: submit, claim, reclaim, retry, status
heartbeat.py   a claim's lease, renewed beside the work
inbox.py       what is dropped into a folder, once it has come to rest

The rest of this text says which moves a job may make, who makes them, and why a late worker cannot do harm.

                     claim                          done                               roll forward
    submit -> ready ------> claimed  (X.json) ------------> claimed (X.to-done.json)  -------------> done
                ^              |  |
                |              |  |  fail, put_back; abandoned: reclaim
                |              |  +---------------------------> claimed (Y.to-ready.json)  --------> ready
                |              +------------------------------> claimed (Y.to-failed.json) --------> failed
                +------ claimed (Y.to-ready.json) <-- retry, submit(again=True) -- failed, done

X is the name of a claim: job, attempt, worker and a random token. Y is the name that the deciding process made up.

**The verdict is one rename.** X.json leaves claimed/ by one rename only. Its worker makes that rename (done, fail,
put_back), or a process that found the claim abandoned (reclaim). The first rename succeeds. Every later one gets ENOENT
and raises `FencedError`. The check and the act are the same rename, so nothing can happen between them. After the
rename everything is decided: the name and the ticket say what remains to be done, and any process can do that, any
number of times:

    X.to-done    give the temporary output the name <out> (publish.py), fsync its folder, remove the temporary name;
                 rename X.to-done.json to done/<job>.json
    Y.to-ready   remove temporary outputs of claims that are over; rename Y.to-ready.json to ready/<job>.json
    Y.to-failed  the same, to failed/<job>.json

**A late worker cannot overwrite the output of its successor.** A temporary output has the claim in its name, so no
other claim writes to it. It becomes <out> only after X.json became X.to-done.json. From there the job goes to done/ and
has no successor until somebody submits it again. That is possible only once done/<job>.json is there, and then the
temporary name is gone: a worker that wakes up with the publication still to do gets ENOENT. The other case is
a claim that was taken away: X.to-done.json never comes to be, and its worker is fenced before it touches <out>. An
output that cannot become <out> (a folder or the result of another shard has that name, the temporary output was
removed) sends its job back or to failed/, but only after the temporary output is gone, so that no process can publish
it later.

**A crash between any two steps** leaves the job's one .json in one folder:

    submit   .next written                 the job was not submitted; the .next is swept
    claim    .next written                 the job is still in ready/; the .next is swept
             moved to X.json               claimed; when abandoned, it goes back; the attempt counts
             content renamed over X.json   the same
    work     temporary output              the same
    verdict  .next written                 the same; the .next is swept
             moved to X.to-done, Y.to-...  decided; when abandoned, anyone takes it to its end (`reclaim_expired`)
             output linked, or renamed     the same
             temporary name removed        the same
             moved to its state            ended

The temporary output of a claim that is over belongs to nobody. A worker that is fenced removes its own. Where that
worker was killed, the next move of the job removes it.

**What lasts is fsynced before the next step relies on it**: the ticket's content and the temporary output before the
verdict, the verdict before <out> gets its name, <out> before done/. A claim is not fsynced: if power loss undoes a
claim, the job is in ready/ again, and its worker is dead too.

**At least once**: two workers may work on a job, where one is slow to notice that it lost the job. One of them
publishes.
"""
