# syntax=docker/dockerfile:1
# pneumodet on the CPU or an NVIDIA GPU, from one file:
#   docker build -t pneumodet .
#   docker build -t pneumodet:gpu --build-arg DEVICE=gpu .
#   docker run --rm --gpus all -p 6006:6006 -v "$PWD/workspace:/workspace" -v "$PWD/data:/data:ro" pneumodet:gpu \
#     pneumodet train --config ssd_mobilenet --data /workspace/records --run first
# The GPU variant has the same base: CUDA and cuDNN come as pip wheels by the [gpu] extra, and the driver from the host.

FROM python:3.11.14-slim-bookworm

ARG DEVICE=cpu

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# The checkout stays and is installed editable, because configs/ and label_maps/ are found beside the package, and so that
# "python tools/train.py" works here as the README shows it. What is copied first is all that the installation reads: a change of a
# config does not install 3 GB again.
WORKDIR /app
COPY setup.cfg pyproject.toml README.md LICENSE constraints.txt ./
COPY deploy/building.py ./deploy/building.py
COPY tools ./tools

# PIP_CONSTRAINT also reaches the environments in which pip builds from source.
ENV PIP_CONSTRAINT=/app/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN case "${DEVICE}" in \
      cpu) extra="all" ;; \
      gpu) extra="all,gpu" ;; \
      *) echo "DEVICE is '${DEVICE}'; allowed: cpu, gpu" >&2; exit 1 ;; \
    esac \
    && pip install --no-cache-dir --editable ".[${extra}]" \
    && pneumodet setup-api \
    && pip check

COPY configs ./configs
COPY label_maps ./label_maps
COPY pretrained/registry.json ./pretrained/registry.json

# Any user id may run it (docker run --user "$(id -u):$(id -g)"), so that files in a mounted workspace belong to who started it:
# caches therefore go to /tmp, downloaded checkpoints
# to the workspace, where they stay, and nothing is written in /app.
RUN useradd --create-home --uid 1000 pneumodet \
    && install --directory --owner=pneumodet --group=pneumodet /workspace /data
ENV PNEUMODET_WORKSPACE=/workspace \
    MPLCONFIGDIR=/tmp/matplotlib \
    XDG_CACHE_HOME=/workspace/.cache \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# by number, so that Kubernetes can see that it is not root
USER 1000
VOLUME ["/workspace", "/data"]

# TensorBoard: tensorboard --logdir /workspace --host 0.0.0.0
EXPOSE 6006

CMD ["pneumodet", "--help"]
