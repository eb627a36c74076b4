# Training and export as a container, for the Jobs in deploy/training: lapis-pairs, lapis-train (alone or under torchrun),
# lapis-export and lapis-models. Runs as a user without rights; data, runs and models are volumes, and /tmp is one.
#
#   docker build --file deploy/docker/train.Dockerfile --tag lapis:0.1.0-train .
#   docker build --file deploy/docker/train.Dockerfile --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu …
#
# For a build that can be repeated, name the base by its digest: --build-arg PYTHON_IMAGE=…/python:3.11-slim@sha256:…
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim
# What the labels say of this build; REVISION, CREATED and SOURCE are known to whoever builds.
ARG VERSION=0.1.0
ARG REVISION=
ARG CREATED=
ARG SOURCE=

# pip has an environment of its own. PyTorch comes first and alone: from PyPI it is the build for CUDA, and an index that
# holds another build of the pinned version (the CPU's is a fraction of it) may be named instead.
FROM ${PYTHON_IMAGE} AS environment
WORKDIR /build
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/lapis
ENV PATH=/opt/pip/bin:$PATH
ARG TORCH_INDEX=
COPY constraints.txt pyproject.toml ./
# constraints.txt says which version.
# hadolint ignore=DL3013
RUN pip --python /opt/lapis install --no-cache-dir --no-compile --no-deps --constraint constraints.txt \
    ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
# Without their sources our packages are nothing but what they depend on.
COPY protos/pyproject.toml protos/
RUN touch README.md \
    && pip --python /opt/lapis install --no-cache-dir --no-compile --constraint constraints.txt ./protos '.[export]' \
    && pip --python /opt/lapis uninstall --yes lapis lapis-client \
    && rm -rf build protos/build \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -x '/(lib2to3|tests?|testing)/' /opt/lapis

# Our own packages, under a prefix that is laid over the environment; commands whose packages are not here go.
FROM environment AS packages
COPY protos protos
COPY service service
COPY train train
COPY export export
RUN pip --python /opt/lapis install --no-cache-dir --no-compile --no-deps --prefix /packages ./protos . \
    && rm /packages/bin/lapis-bench \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /packages

FROM ${PYTHON_IMAGE} AS train
# The user has no entry in /etc/passwd and so no name and no home; libraries that ask for them get these.
ENV PATH=/opt/lapis/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    LOGNAME=lapis \
    HOME=/tmp \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64
WORKDIR /
USER 65532:65532
# Each Job names its command, which is the first process and takes the signals. A Job ends by itself and serves nobody, so
# there is no health to ask after.
CMD ["lapis-train", "--help"]
HEALTHCHECK NONE
COPY --from=environment /opt/lapis /opt/lapis
COPY --from=packages /packages /opt/lapis
ARG VERSION
ARG REVISION
ARG CREATED
ARG SOURCE
LABEL org.opencontainers.image.title="Lapis, training" \
      org.opencontainers.image.description="Paired image-to-image translation: training and export to ONNX" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
