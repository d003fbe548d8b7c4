# Thaw in a container, for a CPU (default) or a CUDA GPU:
#   docker build -t thaw .
#   docker build -t thaw:cuda --build-arg DEVICE=cuda .
#   docker run --rm -p 127.0.0.1:8501:8501 -v thaw:/home/thaw/workspace thaw
#   docker run --rm --gpus all -p 127.0.0.1:8501:8501 -v thaw:/home/thaw/workspace thaw:cuda
# Under another name than localhost, behind a proxy: add -e THAW_HOSTS=thaw.example.com.
# DEMO=1 runs the demo while the image is built, so that it opens with the whole story; it takes a minute or two.
FROM python:3.11-slim-bookworm

ARG DEVICE=cpu
ARG DEMO=0

# The id that Hugging Face Spaces run containers as.
RUN useradd --create-home --uid 1000 thaw
USER thaw
WORKDIR /home/thaw/app
ENV PATH=/home/thaw/.local/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    THAW_HOME=/home/thaw/workspace

# Torch comes first and from its own index for the CPU: PyPI's brings two gigabytes of CUDA libraries along.
COPY --chown=thaw requirements.txt .
RUN if [ "$DEVICE" = cpu ]; then \
      pip install --user "$(grep '^torch==' requirements.txt)" --index-url https://download.pytorch.org/whl/cpu; \
    fi && pip install --user -r requirements.txt

COPY --chown=thaw . .
RUN python -m core demo --dataset-only && if [ "$DEMO" = 1 ]; then python -m core demo --wait; fi

EXPOSE 8501
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=3)"]

# Inside the container the app listens to the outside; what may reach it is decided by -p above. It answers to the name
# that Hugging Face gives a Space and to those in THAW_HOSTS. A Space is shown in a frame of its page there.
CMD ["sh", "-c", "THAW_HOSTS=\"$THAW_HOSTS,$SPACE_HOST\" THAW_FRAME_ANCESTORS=\"${THAW_FRAME_ANCESTORS-${SPACE_HOST:+https://huggingface.co https://*.hf.space}}\" exec streamlit run app.py --server.address 0.0.0.0 --server.port 8501 --server.headless true"]
