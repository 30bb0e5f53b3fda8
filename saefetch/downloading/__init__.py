"""From names of SAEs to files with their labels: one run, any number of jobs, one job an SAE.

What comes in is a `Target` for each SAE and the settings; what goes out is an `Outcome` for each, in the same order.

    api.py       `saefetch.download` and the command: an order -> a thread with an event loop -> outcomes
    order.py     words -> an order, checked
    run.py       all SAEs of an order: one transport, one set of slots and one display for all of them
    job.py       one SAE: lock and open -> plan -> crawl -> publish -> count
    session.py   the SAE's folder as long as a job has it: the lock, the store, the thread that waits for the disk
    crawl.py     one SAE's sources in turn: the export, then the API for the rest
    work.py      the chunks of one source, many at a time, each committed as it comes
    tally.py     how far the job is, and the counts of its outcome
    crew.py      the transport, slots, threads and settings that all jobs of a run share
    figures.py   the words of the progress display
    outcome.py   how a job ended, in numbers and words

The room is not called `download`, as `saefetch.download` is the function.
"""
