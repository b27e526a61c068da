"""Manual pages, the commented configuration file and shell completions, made of the program itself.

Laws:
1. Commands and options come from the command line's own parser, keys from the schema: nothing is said twice.
2. Used when a package is built (`python -m droplan_daemon.manual FOLDER`); the daemon never imports it.
"""
