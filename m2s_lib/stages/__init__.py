"""What a stage reads of the stages before it: the names of their files, and their tables and encoders."""
