"""The network: a `Request` comes in, what its sink made of the answer goes out, or one of the classes of `errors`.

request.py     what is asked, the limits, the counters
transport.py   the one door: attempts, backoff, when to give up
pace.py        a host: token bucket, brake.py (before the quota's end), pause.py (after a 429)
exchange.py    one HTTP exchange, its redirects, and where the key may go
body.py        bodies as streams: unpacked, held to a cap, handed on
faults.py      what can go wrong, told apart
clock.py       time is an argument everywhere here
"""
