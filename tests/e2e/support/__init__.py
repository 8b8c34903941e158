"""What the tests share: real processes, and a client generated from the proto."""
