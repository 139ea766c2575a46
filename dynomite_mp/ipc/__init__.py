"""Shared memory between the processes of a node: rings, doorbells, messages, counters.

Order of imports inside the package, left needs nothing to its right:

    layout <- mapping, ring <- doorbell, counters
    counter_table <- counters, slab
    message_codec <- messages <- wiring <- segment <- proxies
    spill <- proxies
"""
