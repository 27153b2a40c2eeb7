"""Programs for people who work on wattledger itself."""
