"""What crosses a boundary and nothing else: topics, frames, descriptors, ledger tables, errors."""
