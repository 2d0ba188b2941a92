"""Blobs, unpacked layers and images on local disk, by content address."""
