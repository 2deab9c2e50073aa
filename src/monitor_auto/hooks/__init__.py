"""What is installed after the program itself has imported a library. Lazy: one file a library."""
