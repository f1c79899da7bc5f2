"""Tasks: head, loss, decoding and metrics for one kind of label, one file each."""
