"""Simple methods, trained on the same labels as the network, that the network has to beat."""
