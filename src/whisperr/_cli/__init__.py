"""The `whisperr` command; `main` has its parser, and each group of commands a module.

Exit codes: 0 success, 1 something was not delivered or is wrong, 2 a wrong call. An error is one
line on stderr that says what to do.
"""
