# The service as a container: runs as a user without rights, on a read-only file system. Targets: `cpu`, built where none
# is named, and `cuda`, which brings CUDA and cuDNN along. deploy/README.md tells how to build and run them.
#
# For a build that can be repeated, name the base by its digest: --build-arg PYTHON_IMAGE=…/python:3.11-slim@sha256:…
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim

# What changes seldom comes first: the settings, then what the service depends on.
FROM ${PYTHON_IMAGE} AS cpu-dependencies
LABEL org.opencontainers.image.title="Lapis" \
      org.opencontainers.image.description="Paired image-to-image translation, served over gRPC"
ENV PATH=/opt/lapis/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    LAPIS_SERVE_MODELS=/models \
    LAPIS_SERVE_HOST=0.0.0.0 \
    LAPIS_SERVE_HTTP_HOST=0.0.0.0
EXPOSE 50051 8080
ENTRYPOINT ["lapis-serve"]
WORKDIR /build
COPY constraints.txt pyproject.toml ./
COPY protos/pyproject.toml protos/
# Without their sources our packages are nothing but what they depend on.
RUN touch README.md \
    && python3 -m venv /opt/lapis \
    && pip install --no-cache-dir --constraint constraints.txt ./protos . \
    && pip uninstall --yes lapis lapis-client \
    && rm -rf build protos/build

FROM cpu-dependencies AS cuda-dependencies
# The container toolkit hands over the GPU and its driver by these names.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LAPIS_SERVE_DEVICES=cuda
RUN pip install --no-cache-dir --constraint constraints.txt ./protos '.[gpu]' \
    && pip uninstall --yes lapis lapis-client \
    && rm -rf build protos/build

# Our own packages, under a prefix that is laid over the environment.
FROM cpu-dependencies AS packages
COPY . .
RUN pip install --no-cache-dir --no-deps --prefix /packages ./protos .

FROM cuda-dependencies AS cuda
COPY --from=packages /packages /opt/lapis
COPY models /models
WORKDIR /
USER 65532:65532

FROM cpu-dependencies AS cpu
COPY --from=packages /packages /opt/lapis
COPY models /models
WORKDIR /
USER 65532:65532
