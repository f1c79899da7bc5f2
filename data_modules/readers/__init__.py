"""One file per format: from bytes on the disk to plain arrays, with an error that names the file."""
