# Image of a GPU node: verl's image for 0.9 (CUDA 13, Python 3.12, torch 2.11.0, vLLM 0.24.0, flash-attn, Megatron-LM,
# Transformer Engine), which has verl's dependencies and not verl itself, with verl 0.9.1 and this package.
#
#   docker build -t verl-htpo:0.1.0 .
#
# It has not been built: docs/cluster.md, section 1.
FROM verlai/verl:vllm024.dev2

# The image may have an older transformers than verl 0.9.1 wants; Megatron-Bridge imports modelopt, which it lacks
RUN python3 -m pip install --no-cache-dir \
    'transformers>=5.5.3,<5.11,!=5.6.0' \
    'TransferQueue>=0.1.10' \
    'nvidia-modelopt==0.44.0'

# verl's dependencies are there; its own pins would replace them
RUN python3 -m pip install --no-cache-dir --no-deps verl==0.9.1

# What this package wants beyond verl
RUN python3 -m pip install --no-cache-dir duckdb huggingface-hub jinja2 matplotlib mpmath orjson pydantic pyyaml rensa rich scipy statsmodels tqdm

COPY . /srv/verl-htpo
RUN python3 -m pip install --no-cache-dir --no-deps /srv/verl-htpo

# A broken image fails here and not on the cluster
RUN python3 -c "import verl; from recipe.htpo.seams import plugin; assert plugin.is_loaded()"
