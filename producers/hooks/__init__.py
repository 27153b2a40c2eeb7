"""What runs inside an inference engine: it records who ran in each iteration, and cannot hurt the engine."""
