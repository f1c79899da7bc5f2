"""Names of the settings that a user may give beside an input; imports no torch."""

MEDIA, PICTURES = ("missing_audio", "missing_pictures", "start", "end"), ("gsd", "bands", "stretch")
SETTINGS = (*MEDIA, *PICTURES, "category", "up", "question", "choices")
