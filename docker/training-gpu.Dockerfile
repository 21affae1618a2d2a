# Training on NVIDIA GPUs. From the repository's root: docker build -f docker/training-gpu.Dockerfile -t face-liveness:training .
# CUDA 13 and cuDNN come as the wheels that torch pins. Faces are found and bundles are checked on the CPU, by ONNX Runtime.
FROM python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS base

FROM base AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY . .
# Nothing is installed whose hash is not listed, and no package is built from source: that would run its code.
# Byte code is not compiled for torch's own test helpers: one of their files needs a newer Python.
RUN python -m venv --without-pip /opt/build && python -m venv --without-pip /opt/venv \
    && python -m pip --python /opt/build/bin/python install --require-hashes --no-deps --only-binary :all: -r requirements/build.txt \
    && /opt/build/bin/python -m hatchling build --target wheel --directory /opt/build/wheel \
    && python -m pip --python /opt/venv/bin/python install --no-compile --require-hashes --no-deps --only-binary :all: -r requirements/training-gpu.txt \
    && python -m pip --python /opt/venv/bin/python install --no-compile --no-deps --no-index /opt/build/wheel/*.whl \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash -x torch/testing /opt/venv/lib

FROM base
# The same user as in the service's images, which read what this one writes to /models. The base image brings pip, which is
# not needed any more.
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin liveness \
    && rm -rf /usr/local/lib/python3.11/ensurepip /usr/local/lib/python3.11/site-packages/* /usr/local/bin/pip* \
    && install -d -o 10001 -g 10001 /models /work
COPY --from=build /opt/venv /opt/venv
# ONNX Runtime's builds send usage data to Microsoft unless this variable is set.
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
# Runs and crops are written here, so in production it is a volume.
WORKDIR /work
ENTRYPOINT ["liveness-train"]
CMD ["--help"]

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="face-liveness-training" \
      org.opencontainers.image.description="Face liveness: training on NVIDIA GPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11.16-slim-bookworm"
