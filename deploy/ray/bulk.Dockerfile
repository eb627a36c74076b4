# The image of a Ray cluster's nodes: the service, with CUDA, and Ray. Not smaller than it could be: KubeRay starts nodes
# through a shell and asks after them with wget.
#
#   docker build --file deploy/ray/bulk.Dockerfile --tag lapis:0.1.0-bulk .
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim
FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Lapis, bulk" \
      org.opencontainers.image.description="Paired image-to-image translation of millions of pictures, on Ray"
ENV PATH=/opt/lapis/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    HOME=/tmp \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64
# The base's digest decides which version there is.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY constraints.txt pyproject.toml ./
COPY protos/pyproject.toml protos/
# Without their sources our packages are nothing but what they depend on.
RUN touch README.md \
    && python3 -m venv /opt/lapis \
    && pip install --no-cache-dir --constraint constraints.txt ./protos '.[bulk,gpu]' \
    && pip uninstall --yes lapis lapis-client \
    && rm -rf build protos/build
COPY . .
# The shells that KubeRay starts nodes through are login shells up to 1.3, which know no other path than this.
RUN pip install --no-cache-dir --no-deps ./protos . \
    && rm -rf build protos/build \
    && ln -s /opt/lapis/bin/ray /opt/lapis/bin/lapis-bulk /opt/lapis/bin/lapis-models /usr/local/bin/
WORKDIR /tmp
USER 65532:65532
