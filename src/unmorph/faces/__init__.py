"""Where the faces of a photo are, and the square that the paper's geometry cuts out for each."""
