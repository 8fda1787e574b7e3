"""What must hold of the assets, in modules of the same names."""
