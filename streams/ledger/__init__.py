"""What is booked, and how it reaches the database: client, migrations, sink, frontier, transfers, books."""
