"""Ranks and what carries bytes between them: Communicator, transports."""
