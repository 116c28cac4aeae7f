"""The SQLite store: a file that the processes of one machine share."""
