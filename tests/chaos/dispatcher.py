"""A dispatcher of a test-only build: ``python -m tests.chaos.dispatcher``."""

from agora.dispatcher.loop import main
from tests.chaos import sabotage

if __name__ == "__main__":
    sabotage.apply()
    main()
