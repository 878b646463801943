"""How the shipped mini backbones and the mini extractor were trained."""
