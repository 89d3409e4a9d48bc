"""``python -m halfmax.cluster``: a worker process, started by the one that asks it."""

from halfmax.cluster.worker import main

if __name__ == "__main__":
    main()
