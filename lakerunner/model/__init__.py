"""Values that travel between the layers: frozen, comparable, without I/O and without a clock."""
