"""The chart under the real tools."""
