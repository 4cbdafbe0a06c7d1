# syntax=docker/dockerfile:1
# Two stages: wheels are installed with their hashes into a virtual environment, which alone moves on.
# Pin the base by digest for a release: --build-arg BASE=python:3.13-slim@sha256:…
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/drifttrigger
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN /opt/drifttrigger/bin/python -m pip install --require-hashes -r requirements/runtime.txt \
    && python -m pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/drifttrigger/bin/python -m pip install --no-deps /wheels/*.whl \
    && /opt/drifttrigger/bin/python -m pip uninstall --yes pip

FROM ${BASE}
LABEL org.opencontainers.image.title="drifttrigger" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/drifttrigger /opt/drifttrigger
ENV PATH=/opt/drifttrigger/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 9095 9096
ENTRYPOINT ["drifttrigger"]
CMD ["operator", "--metrics-address=:9095", "--health-address=:9096"]
