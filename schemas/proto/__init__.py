"""Protobuf messages of the frames, and the code generated from them by `python -m tools.protoc`."""
