"""From images to features, and how far two sets of images are apart."""
