"""The part of a picture file that is a picture: boxes, the rules that find them, and texts inside them."""
