"""The engine: ranks of one node work on each other's memory; and kernels. Built by setup.py from the .cpp files here."""
