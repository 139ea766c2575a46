# Places of the io worker's counters and histograms in the counter slab.

cdef struct IoCells:
    int read_requests
    int write_requests
    int request_bytes
    int responses
    int response_bytes
    int local_requests
    int error_responses
    int timeouts
    int unreachable
    int refused
    int protocol_errors
    int hard_limit
    int pauses
    int clients
    int client_eof
    int client_err
    int dropped
    int shard_sent
    int shard_received
    int shard_replies_sent
    int shard_replies_received
    int store_requests[4]   # by 2 * group + is_write
    int store_request_bytes[4]
    int store_responses[4]
    int store_response_bytes[4]
    int store_timeouts[2]   # by group
    int store_errors[2]
    int store_ejects
    int peer_ejects
    int no_quorum_writes
    int no_quorum_reads
    int peer_requests
    int peer_request_bytes
    int peer_responses
    int peer_response_bytes
    int peer_dropped
    int peer_timeouts
    int peer_mismatches
    int dnode_clients
    int dnode_eof
    int dnode_err
    int dnode_requests
    int dnode_request_bytes
    int dnode_response_bytes
    int dnode_queue
    int fragments
    int missed_writes
    int lead_executed
    int lead_effects
    int lead_unknown
    int refused_writes
    int read_repairs
    int skipped_writes
    int restamped_writes
    int clock_skews
    int request_latency   # histograms: the first command class's place
    int datastore_latency
    int payload_size
    int queue_wait
    int peer_latency
    int peer_queue_wait
    int peer_in_length
    int peer_out_length
    int client_queue
    int in_queue
    int out_queue


cdef void bind_cells(IoCells* cells)
