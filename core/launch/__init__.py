"""From the words of a command line to checked studies with an identity; nothing is written."""
