"""What crosses a border: canonical bytes and the message types, one file per protocol."""
