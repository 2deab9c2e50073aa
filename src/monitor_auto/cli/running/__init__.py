"""What `monitor-auto run` is made of: `guardian.py` starts the command and waits for it, `streams.py` stands between
its output and ours, `terminal.py` is the user's terminal, `signals.py` says which signals there are to pass on.
"""
