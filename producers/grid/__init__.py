"""Carbon intensity of electricity: sources behind one contract, and what ships with the project."""
