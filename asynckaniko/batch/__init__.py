"""Many images from one manifest: in one process, or as Jobs of a Kubernetes cluster."""
