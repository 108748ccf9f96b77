# The page for a CPU, without root and without anything fetched at run time: docs/deployment.md says how to run it.
FROM python:3.11-slim AS build

# Pinned with hashes, as the tests ran; a layer of its own, since the code changes oftener. The file is for all platforms.
COPY requirements.txt /src/
RUN python -m venv /opt/gliomask \
    && /opt/gliomask/bin/pip install --no-cache-dir --require-hashes --requirement /src/requirements.txt

# The build backend comes from the network once more, here and never later.
COPY pyproject.toml README.md LICENSE /src/
COPY src /src/src
RUN /opt/gliomask/bin/pip install --no-cache-dir --no-deps /src \
    && /opt/gliomask/bin/python -m compileall -q /opt/gliomask/lib \
    && /opt/gliomask/bin/pip uninstall --yes pip

FROM python:3.11-slim
COPY --from=build /opt/gliomask /opt/gliomask

# Numbers, not names: an orchestrator that insists on a user other than root can tell by them.
USER 10001:10001
# A home in the temporary file system, since the root may be read-only; one thread a core is what ONNX Runtime takes by itself.
ENV PATH=/opt/gliomask/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /tmp
EXPOSE 8501
# The address is below a sub-path if STREAMLIT_SERVER_BASE_URL_PATH names one.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('/'.join(filter(None, ['http://127.0.0.1:8501', os.environ.get('STREAMLIT_SERVER_BASE_URL_PATH', '').strip('/'), '_stcore/health'])), timeout=4)"]
# All of the container's own addresses; which of them is published is the business of whoever runs it.
CMD ["gliomask", "app", "--host", "0.0.0.0", "--port", "8501", "--no-browser"]
