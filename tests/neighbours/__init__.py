"""The plugin beside the libraries and servers that applications use with it, each of them as it is."""
