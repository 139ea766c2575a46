"""Places of the io worker's counters in the slab, looked up once, so that the data path adds without a name.

Not a counter table: that is ipc.counter_table.
"""

from dynomite_mp.ipc.counters cimport cell_index, histogram_index


cdef void bind_cells(IoCells* cells):
    """Fill in every place; a name that the counter table lacks raises at start, not on the data path."""
    cells.read_requests = cell_index("client_read_requests")
    cells.write_requests = cell_index("client_write_requests")
    cells.request_bytes = cell_index("client_request_bytes")
    cells.responses = cell_index("client_responses")
    cells.response_bytes = cell_index("client_response_bytes")
    cells.local_requests = cell_index("client_local_requests")
    cells.error_responses = cell_index("client_error_responses")
    cells.timeouts = cell_index("client_timedout_requests")
    cells.unreachable = cell_index("client_unreachable_requests")
    cells.refused = cell_index("client_refused_requests")
    cells.protocol_errors = cell_index("client_protocol_errors")
    cells.hard_limit = cell_index("client_hard_limit_closes")
    cells.pauses = cell_index("client_pauses")
    cells.clients = cell_index("client_connections")
    cells.client_eof = cell_index("client_eof")
    cells.client_err = cell_index("client_err")
    cells.dropped = cell_index("client_dropped_requests")
    cells.shard_sent = cell_index("shard_requests_sent")
    cells.shard_received = cell_index("shard_requests_received")
    cells.shard_replies_sent = cell_index("shard_replies_sent")
    cells.shard_replies_received = cell_index("shard_replies_received")
    cells.store_ejects = cell_index("server_ejects")
    cells.peer_ejects = cell_index("peer_ejects")
    cells.no_quorum_writes = cell_index("client_non_quorum_w_responses")
    cells.no_quorum_reads = cell_index("client_non_quorum_r_responses")
    cells.peer_requests = cell_index("peer_requests")
    cells.peer_request_bytes = cell_index("peer_request_bytes")
    cells.peer_responses = cell_index("peer_responses")
    cells.peer_response_bytes = cell_index("peer_response_bytes")
    cells.peer_dropped = cell_index("peer_dropped_requests")
    cells.peer_timeouts = cell_index("peer_timedout_requests")
    cells.peer_mismatches = cell_index("peer_mismatch_requests")
    cells.dnode_clients = cell_index("dnode_client_connections")
    cells.dnode_eof = cell_index("dnode_client_eof")
    cells.dnode_err = cell_index("dnode_client_err")
    cells.dnode_requests = cell_index("dnode_client_requests")
    cells.dnode_request_bytes = cell_index("dnode_client_request_bytes")
    cells.dnode_response_bytes = cell_index("dnode_client_response_bytes")
    cells.dnode_queue = histogram_index("dnode_client_out_queue_length")
    cells.fragments = cell_index("fragments")
    cells.lead_executed = cell_index("lead_executed")
    cells.lead_effects = cell_index("lead_effects")
    cells.lead_unknown = cell_index("lead_unknown")
    cells.peer_in_length = histogram_index("peer_in_queue_length")
    cells.peer_out_length = histogram_index("peer_out_queue_length")
    cells.peer_latency = histogram_index("cross_zone_latency")
    cells.peer_queue_wait = histogram_index("cross_zone_queue_wait")
    cells.request_latency = histogram_index("request_latency_none")
    cells.datastore_latency = histogram_index("server_latency_none")
    cells.payload_size = histogram_index("payload_size")
    cells.queue_wait = histogram_index("server_queue_wait")
    cells.client_queue = histogram_index("client_out_queue_length")
    cells.in_queue = histogram_index("server_in_queue_length")
    cells.out_queue = histogram_index("server_out_queue_length")
    bind_write_cells(cells)
    bind_group_cells(cells)


cdef void bind_write_cells(IoCells* cells):
    """Of what becomes of writes at their replicas."""
    cells.missed_writes = cell_index("missed_writes")
    cells.read_repairs = cell_index("read_repairs")
    cells.refused_writes = cell_index("refused_writes")
    cells.skipped_writes = cell_index("skipped_writes")
    cells.restamped_writes = cell_index("restamped_writes")
    cells.clock_skews = cell_index("clock_skews")


cdef void bind_group_cells(IoCells* cells):
    """Those of the two groups of datastore connections."""
    for group, name in enumerate(("resp2", "resp3")):
        for is_write, access in enumerate(("read", "write")):
            at = 2 * group + is_write
            cells.store_requests[at] = cell_index(f"{access}_requests:{name}")
            cells.store_request_bytes[at] = cell_index(f"{access}_request_bytes:{name}")
            cells.store_responses[at] = cell_index(f"{access}_responses:{name}")
            cells.store_response_bytes[at] = cell_index(f"{access}_response_bytes:{name}")
        cells.store_timeouts[group] = cell_index(f"server_timedout_requests:{name}")
        cells.store_errors[group] = cell_index(f"server_error_responses:{name}")
