"""What measures energy: one contract, and one module per source of readings."""
