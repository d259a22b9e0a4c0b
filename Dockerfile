# The workflow with the exact versions of requirements.lock. Studies lie in the mounted folder:
#   docker build -t vae-ablation . && docker run --rm -v "$PWD:/work" vae-ablation run mine/config.yaml
FROM python:3.12-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends fonts-dejavu-core procps \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /build/
RUN pip install --no-cache-dir -r /build/requirements.lock
COPY pyproject.toml README.md LICENSE /build/
COPY src /build/src
COPY workflow /build/workflow
RUN pip install --no-cache-dir --no-deps --no-build-isolation /build && rm -r /build
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib NUMBA_CACHE_DIR=/tmp/numba
WORKDIR /work
ENTRYPOINT ["vae-ablation"]
