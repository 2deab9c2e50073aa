"""From spool to collector: imported at the exit of a root session, or by a command; never at start."""
