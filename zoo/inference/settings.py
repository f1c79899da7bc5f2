"""What a user may say beside a file to be answered: the one list of it, which needs no torch."""

MEDIA, PICTURES = ("missing_audio", "missing_pictures", "start", "end"), ("gsd", "bands", "stretch")
SETTINGS = (*MEDIA, *PICTURES, "category", "up", "question", "choices")
