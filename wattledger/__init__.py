"""The one command line: `wattledger`, also `python -m wattledger`."""
