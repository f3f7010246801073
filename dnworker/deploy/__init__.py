"""Writes what runs capabilities on a server: a service, an image, a compose file or manifests; and what watches."""
