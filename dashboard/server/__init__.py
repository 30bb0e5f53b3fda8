"""HTTP: a request comes in, a view's answer or one of the page's files goes out.

serve.py     the server, from its first to its last moment
guard.py     what is checked of every request before it is answered, and the headers of every answer
routes.py    address -> view -> JSON with an ETag; slow views have threads of their own
jobs.py      with --jobs: the routes of `saefetch serve`
"""
