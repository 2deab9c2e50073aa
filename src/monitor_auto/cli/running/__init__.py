"""What `monitor-auto run` is made of: `command.py` is one command from start to end, `session.py` its session,
`runs.py` where its events lie; `guardian.py` starts the command and waits for it, `streams.py` stands between its
output and ours, `terminal.py` is the user's terminal, `signals.py` says which signals there are to pass on.
"""
