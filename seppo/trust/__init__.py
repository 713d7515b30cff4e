"""Who may speak: the shared key, its proof, certificates and encryption."""
