"""What the tests stand on: scratch environments, real child processes, a receiver, and a reader of spools."""
