"""Writes what runs capabilities on a server, and what watches them: services, images, manifests, alerts."""
