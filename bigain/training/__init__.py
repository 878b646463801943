"""How the shipped backbones were trained."""
