"""What each address of the API answers: functions of a `Look` and the request's parameters, to JSON.

They run in threads, know nothing of HTTP, and serve `--static` as well.
"""
