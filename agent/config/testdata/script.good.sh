#!/bin/bash
rekindle up < /etc/x.yaml
