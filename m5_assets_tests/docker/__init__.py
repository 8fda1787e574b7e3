"""Tests of docker/: what its files say (here), and the images and the stack in operation (images_check.sh)."""
