"""``python -m halfmax`` is the command ``halfmax``."""

from halfmax.cli import main

if __name__ == "__main__":
    main()
