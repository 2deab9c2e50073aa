"""The local collector: a web server in a process of its own, run by `monitor-auto collect`. Needs the extra `local`.

intake.py   what a POST holds: unpacked, parsed, checked; pure
schema.py   the tables
store.py    the one writer: group commits, repeats dropped, pruning; answers only what is committed
reading.py  the questions that are asked of the tables
runs.py     sessions and the trees they make
admission.py     who may ask: host, origin, token
live.py     what is told to the pages that are open
app.py      the routes
serving.py  ports, certificates of nobody, and the end
"""
