"""What the tests share: real processes, and a client that is generated from the proto."""
