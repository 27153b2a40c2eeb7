"""The fault matrix: real Kafka brokers, real workers, the ClickHouse engine behind HTTP, broken on purpose.

Each run draws faults from a seed, lets them overlap while a fleet's stream is published and booked, heals
everything, repairs what came late, and compares the ledger with what an undisturbed run of the same events books.
"""
