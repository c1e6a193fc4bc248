"""One small runnable file per feature; tests run them all.

Start the platform with ``AGORA_AGENTS=examples.NAME agora up``, then run ``python -m examples.NAME``.
"""
