# Both halves of voke-fleet: `--target gateway`, `--target operator`. What is in them, and why: docs/image.md

ARG BASE=docker.io/library/python:3.13.14-slim-trixie

# What installs: pip and the build backend, in an environment of their own. Nothing of it is in an image.
# Where packages come from may be given as secrets: a pip.conf, and the ca.crt that it names.
FROM ${BASE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all:
WORKDIR /src
RUN python -m venv /opt/tools && python -m venv --without-pip /opt/voke
COPY requirements/build.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt \
    /opt/tools/bin/pip install --require-hashes -r requirements/build.txt
COPY scripts/install-half scripts/
COPY pyproject.toml README.md LICENSE ./

FROM tools AS gateway-environment
COPY requirements/gateway.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt \
    /opt/tools/bin/pip --python /opt/voke install --no-compile --require-hashes -r requirements/gateway.txt
COPY crds/voke_api crds/voke_api
COPY gateway/voke_gateway gateway/voke_gateway
RUN scripts/install-half

FROM tools AS operator-environment
COPY requirements/operator.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt \
    /opt/tools/bin/pip --python /opt/voke install --no-compile --require-hashes -r requirements/operator.txt
COPY crds/voke_api crds/voke_api
COPY operator/voke_operator operator/voke_operator
RUN scripts/install-half

# The base, without what installs or makes somebody else of a user (su, mount), and with the bytecode that the official images leave out: a read-only file system
# cannot keep it, so every start would compile the standard library anew.
FROM ${BASE} AS runtime
RUN library="$(python -c 'import os; print(os.path.dirname(os.__file__))')" \
    && rm -rf "$library"/ensurepip "$library"/site-packages/* /usr/local/bin/pip* /usr/share/python-wheels \
    && python -m compileall -q -f --invalidation-mode unchecked-hash \
        -x '/(test|tests|idlelib|lib2to3|tkinter|turtledemo|pydoc_data)/' "$library" \
    && find / -xdev -type f -perm /6000 -exec chmod ug-s {} + \
    && install -d -o 65532 -g 65532 /var/lib/voke
ENV PATH=/opt/voke/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /
ARG BASE
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}"

FROM runtime AS operator
LABEL org.opencontainers.image.title="voke-fleet-operator" \
      org.opencontainers.image.description="Puts Plants onto gateways and looks after their keys"
COPY --from=operator-environment /opt/voke /opt/voke
EXPOSE 8080
ENTRYPOINT ["python", "-m", "voke_operator"]

FROM runtime AS gateway
LABEL org.opencontainers.image.title="voke-fleet-gateway" \
      org.opencontainers.image.description="Reads PLCs and sends signed messages to Voke"
COPY --from=gateway-environment /opt/voke /opt/voke
EXPOSE 9100
ENTRYPOINT ["python", "-m", "voke_gateway"]
