#!/bin/sh
# Finds the CUDA plugin where there is a GPU, and becomes the program, which then
# gets the signals of the container. mpirun starts it without the image's environment.
export PATH="/opt/jax/bin:$PATH" GOMLX_NO_AUTO_INSTALL=1
if [ -e /dev/nvidia0 ]; then
  eval "$(bash /usr/local/lib/install-xla-cuda.sh)"
fi
exec impulse "$@"
