"""What readers of pictures note, and one error that they share."""

BLACK = "pictures with parts that are transparent, have no data or are no number, which are black"

CMYK = "pictures in CMYK, turned into RGB without a colour profile"

GREY = "grey pictures, whose one band is repeated"

FIRST_THREE = "pictures of 4 bands without names, the first three taken for red, green and blue (bands= says otherwise)"

FURTHER = "pictures with bands beside red, green and blue, which are not used"

RADAR = "radar pictures, shown as VV, VH and their ratio"

EMPTY = "no pixel holds data: all are transparent, nodata, no number, or 0 of more than 8 bits; leave it out"
