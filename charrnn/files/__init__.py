"""Files written whole or not at all, the lock of a folder, and the folder that caches may use."""
