"""One module for each query language: what a text asks for, as far as planning needs to know."""
