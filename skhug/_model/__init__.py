"""What a fit leaves behind: a module, its embeddings, the nearest proxy, probabilities."""
