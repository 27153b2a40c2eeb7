"""What runs on the stream: windows, metering, attribution, accounts, the ledger and its answers."""
