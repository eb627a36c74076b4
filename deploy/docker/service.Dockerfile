# The service as a container: runs as a user without rights, on a read-only file system, without a shell. Targets: `cpu`,
# built where none is named, and `cuda`, which brings CUDA and cuDNN along. deploy/README.md tells how to build and run
# them, and `python -m deploy.docker.trial` does.
#
# For a build that can be repeated, name the base by its digest: --build-arg PYTHON_IMAGE=…/python:3.11-slim@sha256:…
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim
# What the labels say of this build; REVISION, CREATED and SOURCE are known to whoever builds.
ARG VERSION=0.1.0
ARG REVISION=
ARG CREATED=
ARG SOURCE=

# pip has an environment of its own, so that the one that is served from has none. What changes seldom comes first: what
# the service depends on. Without their sources our packages are nothing but that.
FROM ${PYTHON_IMAGE} AS dependencies
WORKDIR /build
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/lapis
ENV PATH=/opt/pip/bin:$PATH
COPY constraints.txt pyproject.toml ./
COPY protos/pyproject.toml protos/
RUN touch README.md \
    && pip --python /opt/lapis install --no-cache-dir --no-compile --constraint constraints.txt ./protos . \
    && pip --python /opt/lapis uninstall --yes lapis lapis-client \
    && rm -rf build protos/build

# Everything is compiled here, once, as a read-only root lets nobody do it later. The images are not changed after they
# were built, so no start has to compare what was compiled with its source.
FROM dependencies AS cpu-environment
# ONNX Runtime's parts for GPUs: 285 MB, and the CPU's part is the very same without them.
RUN find /opt/lapis -name 'libonnxruntime_providers_cuda.so' -delete \
    && find /opt/lapis -name 'libonnxruntime_providers_tensorrt.so' -delete \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/lapis

FROM dependencies AS cuda-environment
RUN pip --python /opt/lapis install --no-cache-dir --no-compile --constraint constraints.txt ./protos '.[gpu]' \
    && pip --python /opt/lapis uninstall --yes lapis lapis-client \
    && rm -rf build protos/build \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/lapis
# CUDA goes into a layer of its own, with no date in it: while its versions stay, nobody fetches it again.
RUN mkdir /nvidia \
    && cp --archive --parents /opt/lapis/lib/python3*/site-packages/nvidia /nvidia \
    && rm -r /opt/lapis/lib/python3*/site-packages/nvidia \
    && find /nvidia -exec touch --no-dereference --date=@0 {} +

# Python's own library: the official images come without its bytecode.
FROM ${PYTHON_IMAGE} AS bytecode
RUN mkdir /bytecode \
    && library=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') \
    && python3 -m compileall -q -f -j 0 --invalidation-mode unchecked-hash -x 'packages|test|lib2to3' "$library" \
    && find "$library" -name '*.pyc' -not -path '*-packages/*' -exec cp --parents --target-directory /bytecode {} +

# Our own packages, under a prefix that is laid over the environment; commands whose packages are not here go.
FROM dependencies AS packages
COPY protos protos
COPY service service
RUN pip --python /opt/lapis install --no-cache-dir --no-compile --no-deps --prefix /packages ./protos . \
    && rm /packages/bin/lapis-bench /packages/bin/lapis-export /packages/bin/lapis-pairs /packages/bin/lapis-train \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /packages

# What the images share. Of what was built above, they copy what is finished, and run nothing.
FROM ${PYTHON_IMAGE} AS service
ENV PATH=/opt/lapis/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    LAPIS_SERVE_MODELS=/models \
    LAPIS_SERVE_HOST=0.0.0.0 \
    LAPIS_SERVE_HTTP_HOST=0.0.0.0
EXPOSE 50051 8080
WORKDIR /
USER 65532:65532
# The command itself is the first process, and takes the signals.
ENTRYPOINT ["lapis-serve"]
# Whether all models can be asked. Kubernetes has probes of its own and passes this by.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["lapis-serve", "--probe", "127.0.0.1:50051"]
COPY --from=bytecode /bytecode /

# CUDA 13 and cuDNN 9 from the wheels that ONNX Runtime asks for: 1.31 GB to fetch, 2.17 GB unpacked (cuDNN 0.94, cuBLAS
# 0.61, cuFFT 0.24, nvrtc 0.15, nvJitLink 0.12, cuRAND 0.11, cudart 0.01). nvidia/cuda:13…-cudnn-runtime holds these and
# more that nothing here loads: cuSOLVER, cuSPARSE, NPP, nvJPEG, NCCL and NVTX (0.95 GB to fetch as wheels), so it is
# larger; how large the image itself is was not measured.
FROM service AS cuda
# The container toolkit hands over the GPU and its driver by these names; GKE's device plugin puts the driver into that folder.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64 \
    LAPIS_SERVE_DEVICES=cuda
COPY --from=cuda-environment /nvidia /
COPY --from=cuda-environment /opt/lapis /opt/lapis
COPY models /models
COPY --from=packages /packages /opt/lapis
ARG VERSION
ARG REVISION
ARG CREATED
ARG SOURCE
LABEL org.opencontainers.image.title="Lapis" \
      org.opencontainers.image.description="Paired image-to-image translation, served over gRPC on NVIDIA GPUs" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"

FROM service AS cpu
ENV LAPIS_SERVE_DEVICES=cpu
COPY --from=cpu-environment /opt/lapis /opt/lapis
COPY models /models
COPY --from=packages /packages /opt/lapis
ARG VERSION
ARG REVISION
ARG CREATED
ARG SOURCE
LABEL org.opencontainers.image.title="Lapis" \
      org.opencontainers.image.description="Paired image-to-image translation, served over gRPC on the CPU" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
