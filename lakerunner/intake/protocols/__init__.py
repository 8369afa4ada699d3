"""What others send, each protocol from its bytes to payloads. No I/O, no clock, no sockets."""
