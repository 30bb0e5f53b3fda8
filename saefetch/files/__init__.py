"""How files are written, locked, read and hashed: the ground floor of all three packages. It knows nothing of SAEs.

atomic.py          the one way in which a file gets its final name: temporary name, fsync, rename, fsync the folder
lock.py            one process per folder, as long as the process lives
digest.py          a file's SHA-256, which can be given up
zip_directory.py   what is in a zip or npz, and where
"""
