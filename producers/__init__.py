"""What runs beside a GPU: engine hooks, meters, the node agent, and the simulated fleet."""
