"""What happened, for people: from events to a tree of processes with their errors, tests and calls.

sources.py  where events are read: a spool, a file of JSON lines, a collector
following.py  the same, as it grows
model.py    a run, its processes, what went wrong; pure
tree.py     from events to the model; entries.py what one event says, joining.py which processes belong together; pure
facts.py    times, names and outcomes as words; pure
text.py     for a terminal   markdown.py  for a CI job's summary
html.py     one file for a browser   trace.py  for Perfetto and chrome://tracing   lines.py  JSON lines
fingerprints.py  which errors are the same one
"""
