# The service on an NVIDIA GPU, with the insightface detectors. From the repository's root:
# docker build -f docker/service-gpu.Dockerfile -t face-liveness:gpu .
# CUDA 13 and cuDNN come as the wheels that the extra `gpu` names, in the versions of constraints-gpu.txt (requirements/service-gpu.txt). A base image from
# NVIDIA would bring them a second time (3 GB), in other versions and with another Python.
FROM python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS base

FROM base AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY . .
# Nothing is installed whose hash is not listed, and no package is built from source: that would run its code.
# The environment has no pip, no tests that packages bring along, nothing for compilers and type checkers, and nothing of ONNX
# Runtime that makes networks. Byte code is compiled here, since the root is read-only later. `unchecked-hash` keeps it
# independent of the time of the build.
RUN python -m venv --without-pip /opt/build && python -m venv --without-pip /opt/venv \
    && python -m pip --python /opt/build/bin/python install --require-hashes --no-deps --only-binary :all: -r requirements/build.txt \
    && /opt/build/bin/python -m hatchling build --target wheel --directory /opt/build/wheel \
    && python -m pip --python /opt/venv/bin/python install --no-compile --require-hashes --no-deps --only-binary :all: -r requirements/service-gpu.txt \
    && python -m pip --python /opt/venv/bin/python install --no-compile --no-deps --no-index /opt/build/wheel/*.whl \
    && find /opt/venv -type d -name tests -prune -exec rm -r {} + \
    && find /opt/venv \( -name '*.a' -o -name '*.h' -o -path '*/numpy/*.pyi' -o -path '*/cv2/*.pyi' \) -delete \
    && rm -r /opt/venv/lib/python3.11/site-packages/onnxruntime/quantization /opt/venv/lib/python3.11/site-packages/onnxruntime/tools \
       /opt/venv/lib/python3.11/site-packages/onnxruntime/transformers \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

FROM base
# The user has a fixed number, so that volumes and Kubernetes can name it. It may write to these folders; a named volume that
# is mounted there takes over their owner. Their group is 0, since OpenShift runs images with a user of its own choice and that
# group. The base image brings pip, which is not needed any more.
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin liveness \
    && rm -rf /usr/local/lib/python3.11/ensurepip /usr/local/lib/python3.11/site-packages/* /usr/local/bin/pip* \
    && install -d -m 2775 -o 10001 -g 0 /var/cache/liveness /var/lib/liveness /models
COPY --from=build /opt/venv /opt/venv
COPY docker/healthcheck.py /opt/healthcheck.py
# ONNX Runtime's builds send usage data to Microsoft unless this variable is set.
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1 LIVENESS_HOST=0.0.0.0
# The parts of the driver that the container needs. Without a GPU the service is not ready, instead of silently slow.
# Faces are found on the CPU all the same, in workers, which have no right to the GPU; docs/deployment.md says what
# LIVENESS_WORKERS=0 changes.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility LIVENESS_PROVIDER=cuda
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "/opt/healthcheck.py"]
ENTRYPOINT ["liveness"]
CMD ["serve"]

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="face-liveness" \
      org.opencontainers.image.description="Face liveness: the service on an NVIDIA GPU" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11.16-slim-bookworm"
