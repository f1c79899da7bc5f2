"""What stands behind `zoo.demo`: a page for clips, for clouds, or for pictures from above. Needs the extra `demo`."""
