"""Bytes to requests and replies, and what is known about every command. No I/O, no clock.

Order of the modules; each may import those before it:

    buffer
    command_rows > commands > command_lookup
    buffer, command_lookup > resp > wire_errors, framer
"""
