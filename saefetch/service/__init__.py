"""`saefetch serve`: the downloader with a queue that outlives its process, and a mirror of what is here.

    shapes.py     the JSON objects                      wishes.py    the body of a request: which SAEs
    rows.py       what a row of the job table says      table.py     jobs.sqlite, one transaction a change
    runner.py     works off the queue                   upkeep.py    old jobs, changed labels
    service.py    all of it as one object               errors.py    what is wrong with a request about a job

A request's way: http -> Service.submit -> wishes_of -> JobTable.submit. A job's way: Runner -> downloading.Job, the
code of `saefetch download` with its stores and locks -> JobTable.end. Each change wakes the streams of events.
"""
