"""From images to features, for Frechet distance, KID, precision and recall."""
