"""The node agent: one process per GPU node between engines, meters and Kafka."""
