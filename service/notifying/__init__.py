"""Sending what subscribers are told of: the messages themselves, where they may go, and the thread that sends them."""
