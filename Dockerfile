# One image for the service, its workers and the one-shot commands; what it runs as is the compose file's choice.
#
# The dependencies are a layer of their own, of several gigabytes, that changes with requirements.lock and with nothing
# else; the code is a thin layer above it.

FROM python:3.11-slim-bookworm AS dependencies
# Such as --index-url, where the same files come from elsewhere.
ARG PIP_EXTRA_ARGS=""
COPY requirements.lock /requirements.lock
RUN python -m venv --without-pip /opt/filopodia \
    && python -m pip --python /opt/filopodia/bin/python install --no-cache-dir --disable-pip-version-check \
        --progress-bar off --require-hashes --requirement /requirements.lock ${PIP_EXTRA_ARGS}
# What only a compiler or a linker reads, and the image has neither.
RUN cd /opt/filopodia/lib/python3.11/site-packages \
    && find . -name '*.a' -size +100k -delete \
    && rm -rf torch/include nvidia/*/include


FROM python:3.11-slim-bookworm AS code
ARG PIP_EXTRA_ARGS=""
COPY . /source
RUN python -m venv --without-pip /opt/filopodia \
    && python -m pip --python /opt/filopodia/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-deps ${PIP_EXTRA_ARGS} /source


FROM python:3.11-slim-bookworm
ENV PATH=/opt/filopodia/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    HF_HOME=/weights/huggingface \
    TORCH_HOME=/weights/torch
# A new named volume takes over the owner and the mode of the folder that it covers.
RUN groupadd --gid 10001 filopodia \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin filopodia \
    && install --directory --owner 10001 --group 10001 --mode 0700 \
        /data /blobs /weights /spool /redis /secrets/postgres /secrets/redis
COPY --from=dependencies /opt/filopodia /opt/filopodia
COPY --from=code /opt/filopodia /opt/filopodia
COPY docker/*.py /usr/local/lib/filopodia/
USER 10001:10001
WORKDIR /data
CMD ["filopodia", "serve"]
