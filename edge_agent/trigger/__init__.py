"""What says that a part lies before the camera, with its id and recipe where the line knows them."""
