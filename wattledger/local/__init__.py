"""What a laptop or a test runs in place of a fleet's services: a broker, and a front over the database."""
