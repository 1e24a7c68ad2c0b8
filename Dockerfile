# Two stages: the first installs, the second carries only what serving needs, as a user without rights.
#   docker build -t glimt .
#   docker run --name glimt -p 8000:8000 -v glimt:/data glimt --weights /data/weights/resnet50_weights_tf_dim_ordering_tf_kernels.h5
# It listens on every address, so everybody needs an account. The first start makes an admin and shows the password
# once, in `docker logs glimt`; further accounts: docker exec glimt glimt users create EMAIL --name NAME
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/glimt
COPY requirements.lock .
RUN /opt/glimt/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY web web
RUN /opt/glimt/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --create-home glimt && install -d -o glimt /data
COPY --from=build /opt/glimt /opt/glimt
ENV PATH=/opt/glimt/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GLIMT_HOST=0.0.0.0 \
    GLIMT_DATA_DIR=/data \
    GLIMT_FALLBACK=false
USER glimt
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# /readyz needs no account
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["glimt", "serve"]
