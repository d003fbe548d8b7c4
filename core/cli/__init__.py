"""The command line: a parser, one module per group of commands, and what they print."""
