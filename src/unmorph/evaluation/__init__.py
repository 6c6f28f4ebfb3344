"""Evaluate a defense against a deepfake over a set of faces, and render what was found."""
