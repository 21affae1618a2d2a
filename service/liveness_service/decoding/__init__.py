"""Turns the bytes of an upload into upright RGB pictures, within limits."""
