"""The store: what must outlive the service's processes, in one database and a folder of files."""
