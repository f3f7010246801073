"""What events look like: schemas of payloads, and how they change; the engine makes a catalogue of it."""
