"""What a process does to a client: forks, its exit, imports of first use, hosts without threads."""
