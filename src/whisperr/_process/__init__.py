"""Everything about the process around a client: forks, exit, signals, threads, lazy imports."""
