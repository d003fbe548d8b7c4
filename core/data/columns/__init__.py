"""Dictionary-encoded columns on disk, and the compiled kernels that work on them."""
