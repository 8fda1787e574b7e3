"""Tests of the files in docker/; support/docker/images_check.sh tests the running images and stack."""
