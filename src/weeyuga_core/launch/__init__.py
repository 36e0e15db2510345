"""Servers of our own: started under a supervisor, ready when they say so, gone when the harness is gone."""

from weeyuga_core.launch.log import without_directories
from weeyuga_core.launch.server import Server, free_port, start

__all__ = ["Server", "free_port", "start", "without_directories"]
