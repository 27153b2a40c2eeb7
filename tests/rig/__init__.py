"""What tests of the whole worker share: streams on a real broker, ledgers compared row for row."""
