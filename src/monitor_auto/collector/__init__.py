"""The local collector: a web server in a process of its own, run by `monitor-auto collect`. Needs the extra `local`.

app.py         who is asked for what: the routes
admission.py   who may ask: host, origin, token
posting.py     POST /v1/events, from the body to the answer
intake.py      what a body holds: unpacked and parsed; pure
rows.py        one event, checked, as it is stored; pure
moments.py     times
store.py       the one writer: group commits, repeats dropped; answers only what is committed
runs.py        sessions and the trees they make
pruning.py     what is too old or too much, deleted in small steps
schema.py      the tables
reading.py     the answers to questions, from the tables
questions.py   the parameters of a question, checked; pure
facts.py       a stored row as it is told
answers.py     answers that several routes give
exposition.py  /metrics for Prometheus
live.py        what is told to the pages that are open
serving.py     the socket, the server, the end
"""
