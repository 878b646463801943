"""From images to features, and the distance between two sets of images."""
