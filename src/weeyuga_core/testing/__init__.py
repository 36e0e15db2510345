"""The public test kit: a golden server, contract suites for plugins, and values to build tests from.

Nothing here imports pytest: the golden server and its adapter serve `calibrate` as well.
"""
