"""The commit protocol under deterministic simulation: the worker's own core, a simulated log and store.

A schedule is a list of actions drawn from a seed: messages handed over, flushes that fail or stall between any
two steps, commits, crashes, rebalances with a second worker, a written-off worker whose insert lands late. At
the end every message has been read and the store must equal, row for row, the one of an undisturbed run.
"""
