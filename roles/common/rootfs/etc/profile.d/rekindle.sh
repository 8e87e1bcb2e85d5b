# Written by rekindle: ctr is where containerd is.
PATH=$PATH:/opt/containerd/bin
